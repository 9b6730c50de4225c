"""A number with known bounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.policy.kinds.values import GRID_ONE, NO_TEXTS, beyond, finite, floats_of, out_of_bounds, steps_of, within


@dataclass(frozen=True, slots=True)
class NumericFeature:
    """A number with known bounds, scaled to [-1, 1]; width 1."""

    name: str
    """Context field."""
    low: float
    """Smallest accepted value; becomes -1."""
    high: float
    """Largest accepted value; becomes 1."""
    clips: bool = False
    """Whether a finite number beyond the bounds counts as the nearer of them; else it is refused."""

    @property
    def width(self) -> int:
        """Entries in the context vector."""
        return 1

    def encode(self, value: object) -> tuple[int, ...]:
        """Scale and round half to even; a value outside the bounds is refused, unless it is to be clipped."""
        low, high = self.low, self.high
        # A float, as most are, need not be looked at first: what is not finite is within no bounds.
        number = value if type(value) is float and low <= value <= high else finite(self.name, value)
        if not low <= number <= high:
            if not self.clips:
                raise out_of_bounds(self.name, value, f"{low!r} to {high!r}")
            number = min(max(number, low), high)
        return (round(((number - low) / (high - low) * 2.0 - 1.0) * GRID_ONE),)

    def encode_column(self, values: Sequence[object], out: NDArray[np.int16]) -> NDArray[np.bool_]:
        """Encode `values` (m,) into `out` (m, 1); return which rows are sound (the others get -1)."""
        numbers = floats_of(values)
        sound = within(numbers, self.low, self.high, clips=self.clips)
        numbers -= self.low
        numbers /= self.high - self.low
        numbers *= 2.0
        numbers -= 1.0
        numbers *= GRID_ONE
        out[:, 0] = np.rint(numbers, out=numbers)
        return sound

    @property
    def texts(self) -> frozenset[str]:
        """Words that the policy names."""
        return NO_TEXTS

    def possible(self, bits: int) -> int:
        """Return how many distinct entries there are in steps of 2^-bits."""
        return steps_of(GRID_ONE, bits)

    def to_plain(self) -> dict[str, object]:
        """Give the JSON value."""
        return {"name": self.name, "kind": "numeric", "low": self.low, "high": self.high, **beyond(clips=self.clips)}
