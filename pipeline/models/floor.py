"""From what a model prefers to what is drawn: the exploration floor, and the draw (law 6)."""

from __future__ import annotations

import numpy as np

from pipeline.models.model import Floats


def apply_floor(weights: Floats, floor: float) -> Floats:
    """Return p = floor + (1 - K floor) w, (K,): no arm less than the floor, and the sum stays 1.

    Raises ValueError where floor < 0 or K floor > 1.

    >>> apply_floor(np.array([1.0, 0.0]), 0.1).tolist()
    [0.9, 0.1]
    """
    rest = 1.0 - len(weights) * floor
    if not (floor >= 0.0 and rest >= 0.0):
        raise ValueError(f"the floor of {len(weights)} arms lies in [0, 1/{len(weights)}]: seen {floor!r}")
    return floor + rest * weights


def draw(propensities: Floats, u: float) -> int:
    """Return the arm whose stretch of the cumulative sum holds u, for u in [0, 1).

    An arm with propensity 0 is never returned. Raises ValueError where no arm has a propensity above 0.

    >>> [draw(np.array([0.25, 0.0, 0.75]), u) for u in (0.0, 0.25, 0.999)]
    [0, 2, 2]
    """
    # side="right" steps over arms of propensity 0, whose stretch is empty.
    index = int(propensities.cumsum().searchsorted(u, side="right"))
    if index < len(propensities):
        return index
    # The sum is rounded, so that u may lie above it: that sliver belongs to the last arm that can be drawn.
    possible = np.flatnonzero(propensities > 0.0)
    if len(possible) == 0:
        raise ValueError("no arm has a propensity above 0")
    return int(possible[-1])
