"""A number without bounds, as deviations from a mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.models.grid import FEATURE_LIMIT
from pipeline.policy.kinds.values import GRID_ONE, NO_TEXTS, finite, floats_of, steps_of


@dataclass(frozen=True, slots=True)
class StandardisedFeature:
    """A number without bounds, as deviations from a mean; width 1.

    Both constants are the policy's, so that a number means the same as long as the statistics do.
    """

    name: str
    """Context field."""
    mean: float
    """What becomes 0."""
    deviation: float
    """What becomes a step of 1; any finite value is accepted, and 8 deviations or more count as just below 8."""

    @property
    def width(self) -> int:
        """Entries in the context vector."""
        return 1

    def encode(self, value: object) -> tuple[int, ...]:
        """Scale, clip to the grid and round half to even."""
        scaled = (finite(self.name, value) - self.mean) / self.deviation * GRID_ONE
        return (round(min(max(scaled, -FEATURE_LIMIT), FEATURE_LIMIT)),)

    def encode_column(self, values: Sequence[object], out: NDArray[np.int16]) -> NDArray[np.bool_]:
        """Encode `values` (m,) into `out` (m, 1); return which rows are sound (the others get 0)."""
        numbers = floats_of(values)
        sound = np.isfinite(numbers)
        if not sound.all():
            numbers[~sound] = self.mean
        with np.errstate(over="ignore"):  # infinitely many deviations are clipped as 8 are
            numbers -= self.mean
            numbers /= self.deviation
            numbers *= GRID_ONE
        out[:, 0] = np.rint(numbers.clip(-FEATURE_LIMIT, FEATURE_LIMIT))
        return sound

    @property
    def texts(self) -> frozenset[str]:
        """Words that the policy names."""
        return NO_TEXTS

    def possible(self, bits: int) -> int:
        """Return how many distinct entries there are in steps of 2^-bits."""
        return steps_of(FEATURE_LIMIT, bits)

    def to_plain(self) -> dict[str, object]:
        """Give the JSON value."""
        return {"name": self.name, "kind": "standardised", "mean": self.mean, "deviation": self.deviation}
