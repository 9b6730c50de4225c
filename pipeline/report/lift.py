"""Two groups → the difference and the ratio of their means, and how sure that is. Pure.

The groups' intervals are put together by MOVER, the method of variance estimates recovery: a limit of the difference
lies as far from it as the limits of the two groups that look that way, by Pythagoras (Zou & Donner 2008; for rates of
independent decisions it is Newcombe's, 1998, method 10, with the mid-P interval in place of Wilson's). The ratio's
limits are Donner & Zou's (2012, eq. 11).

Beside the interval of one look stands the one that may be looked at every day: of all the looks there will ever be, the
chance that any of them misses is 5 % (`always.py`).
"""

from __future__ import annotations

from math import hypot, sqrt
from typing import NamedTuple

from pipeline.report.always import error_at
from pipeline.report.interval import ERROR, Group, Interval, Range, interval_of, range_of

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


def lift_of(policy: Group, holdout: Group, declared: tuple[float, float]) -> Lift | None:
    """Compare two groups; None where one has fewer than two subjects.

    Args:
        policy: subjects for whom the policy decided.
        holdout: subjects for whom it did not.
        declared: the range of a reward.
    """
    if min(policy.subjects, holdout.subjects) < 2:
        return None
    within = range_of(policy + holdout, declared)
    once = _both(policy, holdout, within, declared, ERROR)
    effective = policy.subjects * holdout.subjects / (policy.subjects + holdout.subjects)
    always = _both(policy, holdout, within, declared, error_at(effective, ERROR))
    return Lift(_difference(*once), _ratio(*once), _difference(*always))


def _both(
    policy: Group, holdout: Group, within: Range, declared: tuple[float, float], error: float
) -> tuple[Interval, Interval]:
    one, other = (interval_of(group, within, declared, is_exact=False, error=error) for group in (policy, holdout))
    return one, other


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
