"""How much a decision still counts, by its age: a weighting of time buckets when they are merged (law 3).

    weight = 2 ** -(age / half_life)   where age < window, and 0 beyond

The age of a bucket is how far its start lies before that of the newest bucket with data, so it is a function of the
statistics alone: no clock, and a policy that rests forgets nothing. Buckets are exact sums before they are weighed,
so how they were partitioned leaves no trace, and another weighting needs no relearning.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

_BITS = 30


@dataclass(frozen=True, slots=True)
class Forgetting:
    """What becomes of old decisions; by default nothing."""

    half_life_ms: int | None = None
    """Age at which a decision counts half; None: it counts whole at any age."""
    window_ms: int | None = None
    """Age from which on it counts nothing; None: never."""

    @property
    def is_none(self) -> bool:
        """Whether nothing is forgotten."""
        return self.half_life_ms is None and self.window_ms is None

    def weight_for(self, age_ms: int) -> float:
        """Return what a decision of this age counts, in [0, 1]; at age 0 it is 1.

        >>> [Forgetting(half_life_ms=10, window_ms=30).weight_for(age_ms) for age_ms in (0, 10, 20, 30)]
        [1.0, 0.5, 0.25, 0.0]
        """
        if self.window_ms is not None and age_ms >= self.window_ms:
            return 0.0
        if self.half_life_ms is None:
            return 1.0
        halvings, rest_ms = divmod(age_ms, self.half_life_ms)
        # The last bit of a power differs between machines; that of a power rounded to 30 bits doesn't.
        fraction = round(2.0 ** (_BITS - rest_ms / self.half_life_ms))
        return math.ldexp(fraction, -_BITS - halvings)
