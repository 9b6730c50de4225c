"""From what a model prefers to what is drawn: the exploration floor, and the draw (law 6)."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

import numpy as np

from pipeline.models.model import Floats

ROUNDING = 1e-12  # of a float64 sum over 10,000 arms
TOLERANCE = 1e-9  # a vector further from 1 was not made by rounding
FALLS_FROM = 5.0
"""Decisions of an arm from which its part of a share falls."""
LEAST_PART = 0.1
"""What is left of it in the end: from fifty decisions on."""


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


def apply_floors(weights: Floats, floors: Floats) -> Floats:
    """Return p = floors + (1 - Σ floors) w, (K,): `apply_floor` where arms have floors of their own.

    Raises ValueError where a floor is negative or they come to more than 1.

    >>> apply_floors(np.array([1.0, 0.0]), np.array([0.0, 0.25])).tolist()
    [0.75, 0.25]
    """
    rest = float(1.0 - floors.sum())
    if not (rest >= -ROUNDING and floors.min() >= 0.0):
        raise ValueError(f"the floors of {len(floors)} arms lie in [0, 1] and come to at most 1: seen {floors}")
    return floors + max(rest, 0.0) * weights


def falling_floors(share: float, tried: Floats) -> Floats:
    """Return each arm's floor of a share that is spread over K arms and falls as an arm is tried, (K,).

    floor_k = share / K · min(1, max(0.1, 5 / n_k)). So together they are at most the share, no arm is ever drawn less
    often than 0.1 share / K, and the weight 1 / propensity of an evaluation is at most 10 K / share.

    >>> falling_floors(0.01, np.array([0.0, 25.0, 1e6, 1e6])).tolist()
    [0.0025, 0.0005, 0.00025, 0.00025]
    """
    part: Floats = np.clip(FALLS_FROM / np.maximum(tried, FALLS_FROM), LEAST_PART, 1.0)
    return share / len(tried) * part


def fit_floors(declared: Floats, wanted: Floats) -> Floats:
    """Return the declared floors raised towards the wanted ones as far as they come to at most 1, (K,).

    Declared ones that come to more than 1 share 1 in proportion.

    >>> fit_floors(np.array([0.1, 0.1]), np.array([0.1, 0.5])).tolist()
    [0.1, 0.5]
    >>> fit_floors(np.array([0.2, 0.2]), np.array([0.8, 0.8])).tolist()
    [0.5, 0.5]
    """
    total = float(declared.sum())
    if total >= 1.0:
        return declared / total
    raised: Floats = np.maximum(declared, wanted)
    excess = float(raised.sum()) - total
    return raised if total + excess <= 1.0 else declared + (raised - declared) * ((1.0 - total) / excess)


def check_distribution(propensities: Sequence[float]) -> None:
    """Raise ValueError unless no entry is negative and they come to 1."""
    total = sum(propensities)
    if not (abs(total - 1.0) < TOLERANCE and min(propensities) >= 0.0):  # false for NaN
        raise ValueError(
            f"propensities are no distribution: they come to {total!r}, the least is {min(propensities)!r}"
        )


def draw(propensities: Sequence[float], u: float) -> int:
    """Return the arm whose stretch of the cumulative sum holds u, for u in [0, 1).

    An arm with propensity 0 is never returned. Raises ValueError where no arm has a propensity above 0.

    >>> [draw([0.25, 0.0, 0.75], u) for u in (0.0, 0.25, 0.999)]
    [0, 2, 2]
    """
    # To the right of u: this steps over arms of propensity 0, whose stretch is empty.
    index = bisect_right(list(accumulate(propensities)), u)
    if index < len(propensities):
        return index
    # The sum is rounded, so that u may lie above it: that sliver belongs to the last arm that can be drawn.
    for place in range(len(propensities) - 1, -1, -1):
        if propensities[place] > 0.0:
            return place
    raise ValueError("no arm has a propensity above 0")
