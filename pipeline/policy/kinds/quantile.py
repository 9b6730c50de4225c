"""A number by its rank among fixed knots."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pipeline.policy.kinds.values import GRID_ONE, NO_TEXTS, finite, floats_of, steps_of


@dataclass(frozen=True, slots=True)
class QuantileFeature:
    """A number by where it lies among knots, such as the deciles of last month: evenly spread over [-1, 1]; width 1.

    Between two knots it is linear; below the first it is -1, above the last 1. The knots are the policy's, so that a
    number means the same as long as the statistics do.
    """

    name: str
    """Context field."""
    knots: tuple[float, ...]
    """Rising, two or more."""
    _knots: NDArray[np.float64] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_knots", np.array(self.knots))

    @property
    def width(self) -> int:
        """Entries in the context vector."""
        return 1

    @property
    def texts(self) -> frozenset[str]:
        """Words that the policy names."""
        return NO_TEXTS

    def encode(self, value: object) -> tuple[int, ...]:
        """Rank and round half to even; any finite number is accepted."""
        knots, last = self.knots, len(self.knots) - 1
        number = min(max(finite(self.name, value), knots[0]), knots[last])
        below = min(bisect_right(knots, number) - 1, last - 1)
        part = (below + (number - knots[below]) / (knots[below + 1] - knots[below])) / last
        return (round((part * 2.0 - 1.0) * GRID_ONE),)

    def encode_column(self, values: Sequence[object], out: NDArray[np.int16]) -> NDArray[np.bool_]:
        """Encode `values` (m,) into `out` (m, 1); return which rows are sound (the others get -1)."""
        knots, last = self._knots, len(self.knots) - 1
        numbers = floats_of(values)
        sound = np.isfinite(numbers)
        numbers[~sound] = knots[0]
        np.clip(numbers, knots[0], knots[last], out=numbers)
        below = np.minimum(np.searchsorted(knots, numbers, side="right") - 1, last - 1)
        part = (below + (numbers - knots[below]) / (knots[below + 1] - knots[below])) / last
        out[:, 0] = np.rint((part * 2.0 - 1.0) * GRID_ONE)
        return sound

    def possible(self, bits: int) -> int:
        """Return how many distinct entries there are in steps of 2^-bits."""
        return steps_of(GRID_ONE, bits)

    def to_plain(self) -> dict[str, object]:
        """Give the JSON value."""
        return {"name": self.name, "kind": "quantile", "knots": list(self.knots)}
