"""Intervals that may be looked at every day: the chance that any look ever misses is bounded. Pure.

A sum S of n independent deviations with variance 1 stays within

    |S_n| < sqrt((n + ρ) ln((n + ρ) / (ρ α²)))        for all n at once, but for a chance of α

(Robbins 1970, "Statistical methods related to the law of the iterated logarithm", with a normal mixture; for sums that
are only nearly normal Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas 2024, theorem 2.2). In deviations of the mean that
is z = sqrt((1 + ρ/n) ln((n + ρ)/(ρ α²))) where one look has 1.96. ρ says where it is the tightest; nobody chooses it by
what was seen.
"""

from __future__ import annotations

from math import log, log1p, sqrt

from scipy.special import ndtr

TIGHTEST_AT = 1_000.0
"""Subjects, of the smaller group where the other is much larger: z is 3.0 there, 3.2 at ten times and 3.8 at a
thousand times as many."""


def error_at(subjects: float, error: float) -> float:
    """Return the error that one look's interval is to have, of all that will ever be looked at.

    Args:
        subjects: m₁ m₂ / (m₁ + m₂) of two groups.
        error: that any look misses.

    >>> [round(error_at(subjects, 0.05), 4) for subjects in (10, 1_000, 100_000)]
    [0.0, 0.0024, 0.0004]
    """
    two = 2.0 * log(1.0 / error)
    mixing = TIGHTEST_AT / (two + log1p(two))  # where the boundary is the least, Howard et al. 2021, section 3.5
    deviations = sqrt((1.0 + mixing / subjects) * log((subjects + mixing) / (mixing * error * error)))
    return 2.0 * float(ndtr(-deviations))
