"""A trained network between the features and what is learned from: context vector → context vector, on the grid.

    h_0 = x,   h_k = min(max(round(W_k (1, h_k-1)), 0), 8 - 2^-12),   the vector (1, h_last)

Weights, inputs and units are int16 in steps of 2^-12, so a layer is a product of integers: below 2^15 · 2^15 · 257
< 2^39, which a float64 product of matrices holds exactly, in whatever order it is summed. One context and a batch, on
any machine, give the same integers; the last bits of a float network would not. A bias is the weight of the 1.

The Bayesian head above is any model that learns from context: to it these are features as others are (Riquelme, Tucker
& Snoek 2018, neural-linear). What `random_units.py` makes stands beside the features: (1, x, h_1). An encoder belongs
to a generation as the features do; its hash is part of theirs.
"""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pipeline.models.grid import FEATURE_BITS, FEATURE_LIMIT

_ONE = 1 << FEATURE_BITS


@dataclass(frozen=True, eq=False)
class Layer:
    """Rectified units."""

    weights: NDArray[np.int16]
    """(units, 1 + inputs), the bias first; read-only."""
    factor: NDArray[np.float64] = field(init=False, repr=False)
    """(1 + inputs, units), the same in units of 1 a step of 2^-12: exact, and laid out for a product."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "factor", np.ldexp(self.weights.T.astype(np.float64), -FEATURE_BITS).copy())
        if self.weights.flags.writeable:
            weights = self.weights.copy()
            weights.setflags(write=False)
            object.__setattr__(self, "weights", weights)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Layer):
            return NotImplemented
        return np.array_equal(self.weights, other.weights)

    def __hash__(self) -> int:
        return hash(self.weights.tobytes())

    @property
    def units(self) -> int:
        """How many numbers come out."""
        return len(self.weights)

    @property
    def inputs(self) -> int:
        """How many numbers go in, the 1 not counted."""
        return int(self.weights.shape[1]) - 1

    def to_plain(self) -> dict[str, object]:
        """Give the JSON value: weights row by row, little-endian, as Base64."""
        return {"units": self.units, "weights": b64encode(self.weights.astype("<i2").tobytes()).decode()}


@dataclass(frozen=True, slots=True)
class Encoder:
    """Layers, one on the other."""

    layers: tuple[Layer, ...]
    random: int = 0
    """How many units, drawn by nobody's data, stand beside the features; 0: it was trained, and stands instead."""

    @property
    def kept(self) -> int:
        """Entries of what goes in that come out as they are, the leading 1 included."""
        return 1 + self.layers[0].inputs if self.random else 1

    @property
    def dimension(self) -> int:
        """Entries of what comes out, the leading 1 included."""
        return self.kept + self.layers[-1].units

    def encode(self, vectors: NDArray[np.int16]) -> NDArray[np.int16]:
        """Take m context vectors (m, 1 + inputs), each with the leading 1, to (m, dimension). Exact."""
        h = vectors.astype(np.float64)
        for layer in self.layers:
            units = h @ layer.factor  # of products that are whole in steps of 2^-12, so it is exact
            h = np.empty((len(vectors), 1 + layer.units))
            h[:, 0] = _ONE
            np.rint(units, out=units)
            np.maximum(units, 0.0, out=units)
            np.minimum(units, FEATURE_LIMIT, out=h[:, 1:])
        made = h.astype(np.int16)
        return np.concatenate((vectors, made[:, 1:]), axis=1) if self.random else made

    def to_plain(self) -> dict[str, object]:
        """Give the JSON value."""
        if self.random:
            return {"random": self.random}
        return {"layers": [layer.to_plain() for layer in self.layers]}
