"""A number that comes round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import fmod

import numpy as np
from numpy.typing import NDArray

from pipeline.policy.exact_trigonometry import sine_cosine
from pipeline.policy.kinds.values import GRID_ONE, NO_TEXTS, finite, floats_of, steps_of


@dataclass(frozen=True, slots=True)
class CyclicFeature:
    """A number that comes round, such as an hour of the day, as sine and cosine; width 2."""

    name: str
    """Context field."""
    period: float
    """Length of one turn; any finite value is accepted and wrapped."""

    @property
    def width(self) -> int:
        """Entries in the context vector."""
        return 2

    def encode(self, value: object) -> tuple[int, ...]:
        """Give sin and cos of the value's part of a turn, rounded half to even."""
        turn = fmod(finite(self.name, value), self.period) / self.period
        sine, cosine = sine_cosine(turn - round(turn))
        return round(sine * GRID_ONE), round(cosine * GRID_ONE)

    def encode_column(self, values: Sequence[object], out: NDArray[np.int16]) -> NDArray[np.bool_]:
        """Encode `values` (m,) into `out` (m, 2); return which rows are sound (the others as for 0)."""
        numbers = floats_of(values)
        sound = np.isfinite(numbers)
        if not sound.all():
            numbers[~sound] = 0.0
        turn = np.fmod(numbers, self.period) / self.period
        sine, cosine = sine_cosine(turn - np.rint(turn))
        out[:, 0] = np.rint(sine * GRID_ONE)
        out[:, 1] = np.rint(cosine * GRID_ONE)
        return sound

    @property
    def texts(self) -> frozenset[str]:
        """Words that the policy names."""
        return NO_TEXTS

    def possible(self, bits: int) -> int:
        """Return how many distinct entries there are in steps of 2^-bits."""
        return steps_of(GRID_ONE, bits) ** 2

    def to_plain(self) -> dict[str, object]:
        """Give the JSON value."""
        return {"name": self.name, "kind": "cyclic", "period": self.period}
