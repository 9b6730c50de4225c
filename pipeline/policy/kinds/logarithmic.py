"""A number with known bounds and a heavy tail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pipeline.policy.exact_logarithm import natural_logarithm
from pipeline.policy.kinds.values import GRID_ONE, NO_TEXTS, beyond, finite, floats_of, out_of_bounds, steps_of, within


@dataclass(frozen=True, slots=True)
class LogarithmicFeature:
    """A number with known bounds and a heavy tail, scaled by its logarithm to [-1, 1]; width 1.

    x becomes ln(1 + (x - low) / unit), scaled: nearly even below the unit above `low`, and by factors beyond it. So a
    price of 5 and one of 50 stay apart under a bound of 100,000.
    """

    name: str
    """Context field."""
    low: float
    """Smallest accepted value; becomes -1."""
    high: float
    """Largest accepted value; becomes 1."""
    unit: float
    """How far above `low` factors begin to count rather than differences."""
    clips: bool = False
    """Whether a finite number beyond the bounds counts as the nearer of them; else it is refused."""
    _span: float = field(init=False, repr=False, compare=False)
    """ln(1 + (high - low) / unit)."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "_span", natural_logarithm(1.0 + (self.high - self.low) / self.unit))

    @property
    def width(self) -> int:
        """Entries in the context vector."""
        return 1

    def encode(self, value: object) -> tuple[int, ...]:
        """Scale and round half to even; a value outside the bounds is refused, unless it is to be clipped."""
        number = finite(self.name, value)
        if not self.low <= number <= self.high:
            if not self.clips:
                raise out_of_bounds(self.name, value, f"{self.low!r} to {self.high!r}")
            number = min(max(number, self.low), self.high)
        part = natural_logarithm(1.0 + (number - self.low) / self.unit) / self._span
        return (round((part * 2.0 - 1.0) * GRID_ONE),)

    def encode_column(self, values: Sequence[object], out: NDArray[np.int16]) -> NDArray[np.bool_]:
        """Encode `values` (m,) into `out` (m, 1); return which rows are sound (the others get -1)."""
        numbers = floats_of(values)
        sound = within(numbers, self.low, self.high, clips=self.clips)
        part = natural_logarithm(1.0 + (numbers - self.low) / self.unit) / self._span
        out[:, 0] = np.rint((part * 2.0 - 1.0) * GRID_ONE)
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
        bounds = {"low": self.low, "high": self.high, "unit": self.unit}
        return {"name": self.name, "kind": "logarithmic", **bounds, **beyond(clips=self.clips)}
