"""Two groups → the difference and the ratio of their means, and how sure that is. Pure.

The groups' intervals are put together by MOVER, the method of variance estimates recovery: a limit of the difference
lies as far from it as the limits of the two groups that look that way, by Pythagoras (Zou & Donner 2008; for rates of
independent decisions it is Newcombe's, 1998, method 10, with the mid-P interval in place of Wilson's). The ratio's
limits are Donner & Zou's (2012, eq. 11).

A holdout's share that was changed while the level moved would make a difference of its own: a twentieth held out on bad
days and a half on good ones, and the policy looks worse than it is. So groups are compared within strata, one a share
that was in force, and a group's mean is that of the strata, each weighed by all its decisions (post-stratification;
Cochran 1977, section 5A.9); its limits are MOVER's of that sum.

Beside the interval of one look stands the one that may be looked at every day: of all the looks there will ever be, the
chance that any of them misses is 5 % (`always.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import hypot, sqrt
from typing import NamedTuple

from pipeline.report.always import error_at
from pipeline.report.interval import ERROR, Group, Interval, interval_of, range_of

METHOD = (
    "mid-P intervals of effective counts by {unit} (Rao & Scott 1992), put together by MOVER (Zou & Donner 2008); "
    "always: a normal mixture (Robbins 1970)"
)


class Lift(NamedTuple):
    """What the policy earns more than the holdout, a decision."""

    difference: Interval
    relative: Interval | None
    """Part of the holdout's mean; None where that is not surely above 0."""
    always: Interval
    """The difference, however often one looks."""


class Stratum(NamedTuple):
    """Subjects of both groups that came under one share of the holdout."""

    policy: Group
    holdout: Group

    @property
    def decisions(self) -> float:
        """Return those of both groups."""
        return float(self.policy.decisions.sum() + self.holdout.decisions.sum())

    @property
    def effective(self) -> float:
        """Return m₁ m₂ / (m₁ + m₂)."""
        return self.policy.subjects * self.holdout.subjects / (self.policy.subjects + self.holdout.subjects)

    @property
    def is_comparable(self) -> bool:
        """Whether both groups have two subjects."""
        return min(self.policy.subjects, self.holdout.subjects) >= 2


def lift_of(policy: Group, holdout: Group, declared: tuple[float, float]) -> Lift | None:
    """Compare two groups; None where one has fewer than two subjects.

    Args:
        policy: subjects for whom the policy decided.
        holdout: subjects for whom it did not.
        declared: the range of a reward.
    """
    return lift_within([Stratum(policy, holdout)], declared)


def lift_within(strata: Sequence[Stratum], declared: tuple[float, float]) -> Lift | None:
    """Compare two groups within strata; those without two subjects of each group say nothing. None where none does."""
    compared = [one for one in strata if one.is_comparable]
    if not compared:
        return None
    total = sum(one.decisions for one in compared)
    weights = [one.decisions / total for one in compared]
    within = range_of(sum((group for one in compared for group in one), Group.of([])), declared)
    effective = 1.0 / sum(weight * weight / one.effective for weight, one in zip(weights, compared, strict=True))
    found = []
    for error in (ERROR, error_at(effective, ERROR)):
        means = [
            [interval_of(group, within, declared, is_exact=False, error=error) for group in one] for one in compared
        ]
        policy, holdout = (_weighed(of, weights) for of in zip(*means, strict=True))
        found.append((policy, holdout))
    once, always = found
    return Lift(_difference(*once), _ratio(*once), _difference(*always))


def _weighed(strata: Sequence[Interval], weights: Sequence[float]) -> Interval:
    """Return MOVER's interval of a weighed sum of independent values.

    >>> _weighed([Interval(0.5, 0.25, 0.75)], [1.0])
    Interval(value=0.5, low=0.25, high=0.75)
    """
    value = sum(weight * one.value for weight, one in zip(weights, strata, strict=True))
    below = hypot(*(weight * (one.value - one.low) for weight, one in zip(weights, strata, strict=True)))
    above = hypot(*(weight * (one.high - one.value) for weight, one in zip(weights, strata, strict=True)))
    return Interval(value, value - below, value + above)


def _difference(one: Interval, other: Interval) -> Interval:
    """Return MOVER's interval of a difference.

    >>> _difference(Interval(0.5, 0.25, 0.75), Interval(0.25, 0.0, 0.25))
    Interval(value=0.25, low=0.0, high=0.6035533905932737)
    """
    value = one.value - other.value
    return Interval(
        value,
        value - hypot(one.value - one.low, other.high - other.value),
        value + hypot(one.high - one.value, other.value - other.low),
    )


def _ratio(one: Interval, other: Interval) -> Interval | None:
    """Return MOVER's interval of a ratio, less 1; None unless both means are surely no less than 0, the other above."""
    if not (other.low > 0.0 and one.low >= 0.0):
        return None
    product = one.value * other.value
    # Both limits with the root below the line, where nothing cancels and nothing is divided by 0.
    least = _limit(product, one.value, one.low, other.value, other.high)
    under = product * product - one.high * other.low * (2 * one.value - one.high) * (2 * other.value - other.low)
    most = (product + sqrt(max(under, 0.0))) / (other.low * (2 * other.value - other.low))
    return Interval(one.value / other.value - 1.0, least - 1.0, most - 1.0)


def _limit(product: float, value: float, limit: float, other: float, other_limit: float) -> float:
    under = product * product - limit * other_limit * (2 * value - limit) * (2 * other - other_limit)
    below = product + sqrt(max(under, 0.0))
    return limit * (2 * value - limit) / below if below > 0.0 else 0.0
