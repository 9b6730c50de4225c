"""Whether to stop: how sure it is which arm is the best, and what is lost by choosing it now.

    loss_a = E[max θ] - E[θ_a]        what choosing arm a for good is expected to cost, per decision

(Chris Stucchio 2015, "Bayesian A/B Testing at VWO", section 4.) The loss is what stops: it is fair whenever one looks,
where P(best) passes any mark by chance if one looks often enough; and of two arms that are equally good neither is
ever surely the best, but to choose either costs nothing. P(best) says which of the two it is. Both are means over how
far apart arms may lie (`spread.py`): with few events the arm that leads is the one that was lucky.

How much more evidence it takes is what the beliefs would come to if they stayed where they are and only narrowed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pipeline.models.beliefs import Beliefs, NormalBeliefs
from pipeline.models.model import Floats
from pipeline.models.spread import drawn_together

_POINTS = 4001
_REACH = 1e4  # deviations: as far as Student's tails with two degrees of freedom weigh 1e-4 of a deviation
_NORMAL_POINTS = 601
_NORMAL_REACH = 10.0
MOST_GROWTH = 2.0**30


class Rule(NamedTuple):
    """When to stop."""

    confidence: float = 0.95
    """P(best) from which on an arm is surely the best."""
    loss: float = 0.01
    """Most expected loss, as a part of the leading arm's mean."""
    decisions: int = 100
    """Least decisions of every arm."""


class Advice(NamedTuple):
    """What is to be said of one segment; arms by their index."""

    leader: int
    """The arm that is the most probably best."""
    best: Floats
    """P(best), (K,)."""
    losses: Floats
    """Expected loss per decision, (K,), in reward units."""
    is_sure: bool
    """Whether the leader is surely the best, or else only as good as any."""
    may_stop: bool
    """Whether the leader may be chosen for good: its loss is small enough, and every arm had its decisions."""
    growth: float | None
    """How many times the present evidence lets stop, all else equal: 1 if it does; None: no amount found."""


def advise(beliefs: Beliefs, counts: Sequence[int], rule: Rule) -> Advice:
    """Say whether the rule is met, given each arm's count of decisions."""
    drawn = drawn_together(beliefs)
    best: Floats = sum((one.weight * one.beliefs.best() for one in drawn), np.zeros(len(counts)))
    leader = int(best.argmax())
    few = min(counts)
    is_sure = bool(best[leader] >= rule.confidence)
    may_stop = few >= rule.decisions and _is_cheap(beliefs, leader, rule)
    growth = 1.0 if may_stop else _growth(beliefs, few, rule)
    return Advice(leader, best, losses_of(beliefs), is_sure, may_stop, growth)


def losses_of(beliefs: Beliefs) -> Floats:
    """Return E[max θ] - E[θ_a] of each arm, (K,), over how far apart arms may lie."""
    drawn = drawn_together(beliefs)
    return sum((one.weight * expected_losses(one.beliefs) for one in drawn), np.zeros(len(beliefs.mean())))


def expected_losses(beliefs: Beliefs) -> Floats:
    """Return E[max θ] - E[θ_a] of each arm, (K,), none below 0."""
    mean, deviation = beliefs.mean(), beliefs.deviation()
    centre, unit = mean.max(), deviation.min()
    is_normal = isinstance(beliefs, NormalBeliefs)
    deviations, points = (_NORMAL_REACH, _NORMAL_POINTS) if is_normal else (_REACH, _POINTS)
    reach = max(float((np.abs(mean - centre) + deviations * deviation).max()), unit)
    # E[max] = c + ∫ P(max > t) dt above c - ∫ P(max <= t) dt below it, over y = arcsinh((t - c) / unit).
    y, step = np.linspace(0.0, np.arcsinh(reach / unit), points, retstep=True)
    width = unit * np.cosh(y) * step
    width[[0, -1]] /= 2.0
    above = 1.0 - beliefs.below(centre + unit * np.sinh(y)).prod(axis=1)
    below = beliefs.below(centre - unit * np.sinh(y)).prod(axis=1)
    losses: Floats = np.maximum(centre + (above - below) @ width - mean, 0.0)
    return losses


def _is_cheap(beliefs: Beliefs, leader: int, rule: Rule) -> bool:
    return bool(losses_of(beliefs)[leader] <= rule.loss * abs(beliefs.mean()[leader]))


def _growth(beliefs: Beliefs, few: int, rule: Rule) -> float | None:
    """Double until the rule is met, then halve the interval; who leads is the arm with the largest mean."""
    if few == 0:
        return None
    leader = int(beliefs.mean().argmax())
    high = max(1.0, rule.decisions / few)
    low = high
    while not _is_cheap(beliefs.grown(high), leader, rule):
        low, high = high, 2.0 * high
        if high > MOST_GROWTH:
            return None
    while high > 1.01 * low:
        middle = (low * high) ** 0.5
        if _is_cheap(beliefs.grown(middle), leader, rule):
            high = middle
        else:
            low = middle
    return high
