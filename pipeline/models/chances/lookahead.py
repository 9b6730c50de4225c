"""How an index would spend the next few decisions, if each came out as expected: an index that is a distribution.

An index names one arm, and goes on naming it until the next snapshot. Its width falls with every decision, though,
whatever comes of it, so what it would name next can be worked out ahead (Desautels, Krause & Burdick 2014:
"hallucinated" observations). With j_k decisions more of arm k in the same context

    index_k(j) = mean_k + deviation_k sqrt(leverage_k / (1 + j leverage_k))

and m decisions ahead have been spent where all arms that had any stand at one level L:

    j_k = ((deviation_k / (L - mean_k))² - 1 / leverage_k)₊,   Σ j_k = m,   P_k = j_k / m

So decisions on one snapshot are spread as if it had been made anew after each; where one arm is ahead by more than m
decisions can change, it is certain. The sum is convex and falls with L, so Newton's steps from below never overshoot.
"""

from __future__ import annotations

import numpy as np

from pipeline.models.chances.largest import largest
from pipeline.models.model import Floats

AHEAD = 20
"""Decisions: what a busy policy makes between two snapshots of its youth, when it matters."""
_STEPS = 40  # quadratic from below: six or so
_TINY = 1e-12  # a leverage of 0 is an arm that is known in this context


def spread_ahead(mean: Floats, deviation: Floats, leverage: Floats, ahead: float) -> Floats:
    """Return which part of the next decisions each arm would have, (K,), summing to 1.

    Args:
        mean: (K,).
        deviation: (K,) above 0: what one decision's reward is uncertain by.
        leverage: (K,) of 0 or more: xᵀ P_k x, or 1 / n_k without context.
        ahead: m.

    Raises ValueError where a number is NaN or infinite.

    >>> spread_ahead(np.array([0.0, 0.0]), np.ones(2), np.ones(2), AHEAD).tolist()
    [0.5, 0.5]
    """
    leverage = np.maximum(leverage, _TINY)
    squares = deviation * deviation
    level = float((mean + np.sqrt(squares * leverage / (1.0 + ahead * leverage))).max())
    index = mean + np.sqrt(squares * leverage)
    places = np.flatnonzero(index >= level)
    if not len(places):
        raise ValueError(f"means and widths of arms must be finite numbers: seen {mean} and {leverage}")
    if len(places) == 1 or level <= mean.max():  # or the widths are less than the last digit of a mean
        return largest(index)
    arms = list(zip(mean[places].tolist(), squares[places].tolist(), (1.0 / leverage[places]).tolist(), strict=True))
    parts = [0.0] * len(arms)
    for _ in range(_STEPS):
        total = slope = 0.0
        for place, (centre, square, seen) in enumerate(arms):
            gap = level - centre
            part = square / (gap * gap) - seen
            if part > 0.0:
                total += part
                slope += 2.0 * (part + seen) / gap
                parts[place] = part
            else:
                parts[place] = 0.0
        excess = total - ahead
        if excess <= 1e-9 * ahead:
            break
        level += excess / slope
    weights = np.zeros(len(mean))
    weights[places] = parts
    spread: Floats = weights / weights.sum()
    return spread
