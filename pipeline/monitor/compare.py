"""How far apart two samples are, and whether that is chance. Pure.

Decisions of one person go together, so a difference has to be as sure as if every figure had `DESIGN` times the
variance that separate decisions give it.
"""

from __future__ import annotations

import numpy as np
from scipy.special import chdtrc, ndtr, ndtri

from pipeline.models.model import Floats

DESIGN = 2.0
"""Design effect that is allowed for."""
HALF = 0.5
"""Decisions added to each category, so that one that is new or gone has a finite index (Jeffreys)."""
FALSE_ALARMS = 0.01
"""That a calm policy's monitor has in a month, at most: one in a hundred months."""
MONTH_MS = 30 * 86_400_000


def deviations_for(figures: int, look_ms: int) -> float:
    """Return how many deviations are no chance, for so many figures that are looked at all month (Bonferroni).

    >>> round(deviations_for(1, 600_000), 2), round(deviations_for(100, 600_000), 2)
    (4.72, 5.59)
    """
    looks = max(1.0, MONTH_MS / look_ms)
    return float(-ndtri(FALSE_ALARMS / (2.0 * looks * max(1, figures))))


def stability_index(recent: Floats, before: Floats) -> float:
    """Return the population stability index Σ (p - q) ln(p / q) of two histograms: the symmetric Kullback-Leibler.

    >>> round(stability_index(np.array([500.0, 500.0]), np.array([800.0, 200.0])), 2)
    0.41
    """
    p = (recent + HALF) / (recent + HALF).sum()
    q = (before + HALF) / (before + HALF).sum()
    return float((p - q) @ np.log(p / q))


def normal_stability_index(mean: float, variance: float, mean_before: float, variance_before: float) -> float:
    """Return the same of two normal distributions.

    >>> normal_stability_index(0.5, 1.0, 0.0, 1.0)
    0.25
    """
    apart = (mean - mean_before) ** 2
    return 0.5 * ((variance + apart) / variance_before + (variance_before + apart) / variance) - 1.0


def differ(recent: Floats, before: Floats, deviations: float) -> bool:
    """Whether two histograms differ by more than chance: Pearson's test of two samples, at that many deviations."""
    used = (recent + before) > 0.0
    a, b = recent[used], before[used]
    n, m = float(a.sum()), float(b.sum())
    if len(a) < 2 or not n or not m:
        return False
    expected = (a + b) / (n + m)
    statistic = float(((a - n * expected) ** 2 / (n * expected) + (b - m * expected) ** 2 / (m * expected)).sum())
    return bool(chdtrc(len(a) - 1, statistic / DESIGN) < 2.0 * ndtr(-deviations))


def is_sure(difference: float, variance: float, deviations: float) -> bool:
    """Whether a difference of this variance is no chance."""
    return difference * difference > deviations * deviations * DESIGN * variance
