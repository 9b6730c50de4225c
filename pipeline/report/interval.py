"""A group of subjects → its mean reward a decision, and an interval that holds for one success as for a million. Pure.

Subjects are assigned, so subjects are what varies: a subject's decisions are not independent of each other. The mean of
m subjects with N_i decisions that earned R_i is μ = Σ R_i / Σ N_i, a ratio of two means, with the variance of the delta
method (Deng, Knoblich & Lu 2018, "Applying the Delta Method in Metric Analytics", eq. 3 to 5):

    v = Σ (R_i - μ N_i)² m / ((m - 1) (Σ N_i)²)

It is 0 in a group without a success, and too small in one that has happened to miss the few large ones. So it only says
how many independent trials the group is worth, and the interval is that of a count. With l and h the least and the
largest reward a decision of any subject in either group, an event is worth a jump

    j = v Σ N_i (h - l) / ((μ - l) (h - μ))

and the group is worth n = Σ N_i (h - l) / j trials of which x = n (μ - l) / (h - l) succeeded (Rao & Scott 1992): where
a subject has one decision that is a click or none, the counts themselves. As j is known from k = (Σ y_i)² / Σ y_i²
events at best (y_i = R_i - l N_i; Kish's effective size), it is drawn towards the largest jump that a subject of either
group made, as if that had been seen twice more (of a group by itself four times): what was not seen may be as large as
what was.

The interval is Clopper & Pearson's (1934) for a group by itself, and of its mid-P form (Lancaster 1961) where groups
are compared. Few subjects widen it as Student's quantile is wider than the normal one.

Where half of the subjects earn the same and others both less and more (refunds), there is no such count: the interval
is Student's, with the largest residual seen twice more. How often all this covers the truth: docs/numbers.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import inf, sqrt
from typing import NamedTuple

import numpy as np
from scipy.special import betainc, betaincc, betainccinv, betaincinv, ndtr, stdtrit

from pipeline.models.model import Floats

ERROR = 0.05
"""That an interval misses, both sides together."""
UNSEEN = 2.0
"""Events of the largest jump that count as seen. With one, differences of lognormal rewards (σ = 2.5, some hundred
purchases) were covered in 90 % of experiments, with two in 95 %."""
UNSEEN_ALONE = 4.0
"""The same of a group by itself, whose miss nothing on the other side makes up for: of the mean of lognormal rewards
(σ = 1.5, 25 purchases) two cover 93.1 % of 1,500 experiments, four 95.2, with 1.09 of the width."""

LEAST_TAIL = 1e-100
"""Of the looks at a handful of subjects: a smaller one allows anything."""
ROUNDING = 1e-12
"""Part of a rate by which sums of decisions may make it another one: rewards themselves lie on a coarser grid."""


class Interval(NamedTuple):
    """A value and the interval around it."""

    value: float
    low: float
    high: float


class Range(NamedTuple):
    """What subjects of all groups together earned a decision, and the largest jump that one made."""

    low: float
    high: float
    jump: float
    """In reward: the most that a subject earned above `low`."""
    is_two_sided: bool
    """Whether most earn the same, and others less as well as more."""


@dataclass(frozen=True, eq=False)
class Group:
    """Subjects that are compared with others."""

    decisions: Floats
    """(m,), above 0."""
    earned: Floats
    """(m,), their rewards' sum."""

    @classmethod
    def of(cls, subjects: Iterable[tuple[float, float]]) -> Group:
        """Take in (decisions, reward in all) of each subject."""
        table = np.array(list(subjects), np.float64).reshape(-1, 2)
        return cls(table[:, 0], table[:, 1])

    @property
    def subjects(self) -> int:
        """Return how many there are."""
        return len(self.decisions)

    @property
    def mean(self) -> float:
        """Return the reward a decision; nan of nobody.

        >>> Group.of([(1, 0.0), (1, 1.0), (2, 1.0)]).mean
        0.5
        """
        total = float(self.decisions.sum())
        return float(self.earned.sum()) / total if total else float("nan")

    @property
    def residual_squares(self) -> float:
        """Return Σ (R_i - μ N_i)² m / (m - 1): v (Σ N_i)²; needs two subjects."""
        rest = self.earned - self.mean * self.decisions
        return float(rest @ rest) * self.subjects / (self.subjects - 1)

    def __add__(self, other: Group) -> Group:
        """Return all subjects of both."""
        return Group(np.append(self.decisions, other.decisions), np.append(self.earned, other.earned))


def range_of(everyone: Group, declared: tuple[float, float]) -> Range:
    """Look at the subjects of all groups; `declared` is the range of a reward, where nothing else is known.

    >>> range_of(Group.of([(1, 0.0), (1, 0.0), (2, 1.0)]), (0.0, 1.0))
    Range(low=0.0, high=0.5, jump=1.0, is_two_sided=False)
    """
    rates = everyone.earned / everyone.decisions
    low, high = float(rates.min()), float(rates.max())
    if high - low <= ROUNDING * max(abs(low), abs(high)):
        return Range(low, low, declared[1] - declared[0], is_two_sided=False)
    usual = float(np.median(rates))
    is_two_sided = low < usual < high and int((rates == usual).sum()) * 2 >= len(rates)
    return Range(low, high, float((everyone.earned - low * everyone.decisions).max()), is_two_sided)


def interval_of(
    group: Group, within: Range, declared: tuple[float, float], *, is_exact: bool, error: float = ERROR
) -> Interval:
    """Return the interval of a group's mean, of two subjects or more.

    Args:
        group: has two subjects or more.
        within: what all groups together are like.
        declared: the range of a reward, which bounds the interval.
        is_exact: whether to cover at least as often as is said (Clopper & Pearson), or about as often (mid-P).
        error: how often to miss at most.
    """
    mean, tail = group.mean, _tail(error, group.subjects)
    if within.is_two_sided:
        rest = np.abs(group.earned - mean * group.decisions).max()
        total = float(group.decisions.sum())
        reach = _deviations(error, group.subjects) * sqrt(
            group.residual_squares + UNSEEN * max(float(rest), within.jump) ** 2
        )
        return Interval(mean, max(mean - reach / total, declared[0]), min(mean + reach / total, declared[1]))
    limits, unseen = (_exact, UNSEEN_ALONE) if is_exact else (_mid_p, UNSEEN)
    if within.low == within.high:
        # Nobody has ever earned anything else: what else there may be is only known by the bounds.
        below, above = (Range(declared[0], mean, within.jump, is_two_sided=False), within._replace(high=declared[1]))
        return Interval(
            mean,
            mean if mean == declared[0] else _by_count(group, below, tail, limits, unseen)[0],
            mean if mean == declared[1] else _by_count(group, above, tail, limits, unseen)[1],
        )
    return Interval(mean, *_by_count(group, within, tail, limits, unseen))


def _by_count(
    group: Group,
    within: Range,
    tail: float,
    limits: Callable[[float, float, float], tuple[float, float]],
    unseen: float,
) -> tuple[float, float]:
    low, width, total = within.low, within.high - within.low, float(group.decisions.sum())
    part = min(max((group.mean - low) / width, 0.0), 1.0)
    above = group.earned - low * group.decisions
    squares = float(above @ above)
    events = float(above.sum()) ** 2 / squares if squares > 0.0 else 0.0
    spread = part * (1.0 - part) * width * total
    seen = group.residual_squares / spread if spread > 0.0 else 0.0
    jump = (seen * events + within.jump * unseen) / (events + unseen)
    trials = total * width / jump
    least, most = limits(trials * part, trials, tail)
    return low + least * width, low + most * width


def _tail(error: float, subjects: int) -> float:
    """Return the normal tail that lies as far out as Student's with so many subjects.

    >>> _tail(0.05, 10**6) == 0.025, round(_tail(0.05, 20), 4)
    (False, 0.0182)
    """
    return float(ndtr(-_deviations(error, subjects)))


def _deviations(error: float, subjects: int) -> float:
    """Return how far out Student's tails lie; inf where that is further than floats tell."""
    found = -float(stdtrit(subjects - 1, error / 2.0))
    return found if found > 0.0 else inf


def _exact(successes: float, trials: float, tail: float) -> tuple[float, float]:
    """Return Clopper & Pearson's limits; neither count need be whole."""
    if tail < LEAST_TAIL:
        return 0.0, 1.0
    failures = trials - successes
    low = float(betaincinv(successes, failures + 1.0, tail)) if successes > 0.0 else 0.0
    high = float(betainccinv(successes + 1.0, failures, tail)) if failures > 0.0 else 1.0
    return low, high


def _mid_p(successes: float, trials: float, tail: float) -> tuple[float, float]:
    """Return where the chance of more, and half that of as much, comes to the tail; and the same of less.

    Each limit lies between the exact one of the tail and that of twice the tail, however far out that is.
    """
    failures = trials - successes

    def excess_of_more(p: float) -> float:
        at_least = float(betainc(successes, failures + 1.0, p))
        more = float(betainc(successes + 1.0, failures, p)) if failures > 0.0 else 0.0
        return 0.5 * (at_least + more) - tail

    def excess_of_less(p: float) -> float:
        less = float(betaincc(successes, failures + 1.0, p)) if successes > 0.0 else 0.0
        at_most = float(betaincc(successes + 1.0, failures, p))
        return 0.5 * (less + at_most) - tail

    low, high = _exact(successes, trials, tail)
    narrow_low, narrow_high = _exact(successes, trials, 2.0 * tail)
    return _root(excess_of_more, low, narrow_low), _root(excess_of_less, high, narrow_high)


def _root(excess: Callable[[float], float], outer: float, inner: float) -> float:
    """Return where the excess is 0: below it at the outer limit, above it at the inner one, but for rounding."""
    if outer in (inner, 0.0) or excess(outer) >= 0.0:
        return outer
    if excess(inner) <= 0.0:
        return inner
    from scipy.optimize import brentq  # noqa: PLC0415  half a second to import, and few commands need it

    return float(brentq(excess, outer, inner, xtol=1e-300, rtol=1e-12))


NOWHERE = Interval(float("nan"), -inf, inf)
"""Of fewer than two subjects."""
