"""Propensities below ceilings, and the ceiling that keeps an arm's share of all decisions. Pure.

Let s be the arm's share of the window's decisions as the snapshot reports it, c its cap and λ the part of the
window's decisions that is not reported yet. The ceiling is (c - s) / σ within [0, 1], with σ = 0.1: an arm that every
context wants settles at c / (1 + σ), and from s = c on it is not drawn but for its floor. Whatever the number of
nodes, the share stays at most c + λ in expectation: at the last moment at which the arm could be drawn, s was below c,
and unreported decisions are λ of the window at most. Where the reports are older than σ of the window, the ceiling is
c for each decision by itself, which needs no reports.
"""

from __future__ import annotations

import numpy as np

from pipeline.models.chances.floor import ROUNDING
from pipeline.models.model import Floats

SOFT = 0.1
"""σ."""


def ceiling(share: float, shown: int, decisions: int, *, is_reported: bool) -> float:
    """Return the largest propensity of an arm with a cap of `share`, shown so many times in so many decisions.

    >>> [ceiling(0.2, shown, 1000, is_reported=True) for shown in (0, 190, 200, 300)]
    [1.0, 0.1, 0.0, 0.0]
    """
    if not is_reported or decisions == 0:
        return share
    # In whole decisions, so that an arm at its cap has a ceiling of 0 exactly.
    return min(1.0, max(0.0, round((share * decisions - shown) / (SOFT * decisions), 12)))


def cap(propensities: Floats, ceilings: Floats) -> Floats:
    """Lower each entry to its ceiling; what it loses goes to the others in proportion, up to theirs.

    A distribution stays one, and no entry falls below the smaller of itself and its ceiling. Ceilings that come to
    less than 1 can't be kept: then they are shares of 1 instead, or nothing changes where all are 0.
    """
    total = ceilings.sum()
    if total <= 1.0 + ROUNDING:
        return ceilings / total if total > 0.0 else propensities
    capped = propensities.copy()
    is_full = np.zeros(len(capped), np.bool_)
    for _ in range(len(capped)):
        above = (capped > ceilings) & ~is_full
        if not above.any():
            break
        is_full |= above
        capped[is_full] = ceilings[is_full]
        free = ~is_full
        missing = 1.0 - capped.sum()
        ours = capped[free]
        # Free arms that had nothing share by what they may have.
        share = ours if ours.sum() > 0.0 else ceilings[free]
        capped[free] = ours + missing * share / share.sum()
    return capped
