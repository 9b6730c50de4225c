"""Two groups of subjects → the difference of their mean rewards, and how sure it is. Pure.

Subjects are assigned, so subjects are what varies: a subject's decisions are not independent of each other. The mean
reward a decision, Σ R_i / Σ N_i over m subjects with N_i decisions that earned R_i, is a ratio of two means, and its
variance is the delta method's (Deng, Knoblich & Lu 2018, "Applying the Delta Method in Metric Analytics", eq. 3 to 5):

    v = Σ (R_i - μ N_i)² / (m (m - 1) N̄²)

The difference of two groups has variance v_p + v_h and Welch's degrees of freedom (Welch 1947); the relative lift
μ_p/μ_h - 1 has (v_p + (μ_p/μ_h)² v_h) / μ_h², by the delta method again. Both want some dozens of subjects a group.
Where every decision is its own subject, all this is the two-sample t-interval.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import isfinite, sqrt
from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit

LEVEL = 0.95
METHOD = "delta method by subject (Deng, Knoblich & Lu 2018), Welch's degrees of freedom"


class Interval(NamedTuple):
    """A value and its 95 % interval."""

    value: float
    low: float
    high: float


class Mean(NamedTuple):
    """A group's mean reward a decision."""

    subjects: int
    decisions: int
    value: float
    variance: float
    """Of `value`; nan below two subjects."""

    @property
    def interval(self) -> Interval | None:
        """Return Student's interval; None below two subjects."""
        return None if self.subjects < 2 else _around(self.value, self.variance, self.subjects - 1)


class Lift(NamedTuple):
    """What the policy earns more than the holdout, a decision."""

    difference: Interval
    relative: Interval | None
    """Part of the holdout's mean; None where that is not surely above 0."""


def mean_of(subjects: Iterable[tuple[int, float]]) -> Mean:
    """Return the mean reward a decision of subjects with N_i > 0 decisions that earned R_i in all.

    >>> mean_of([(1, 0.0), (1, 1.0), (2, 1.0)])[:3]
    (3, 4, 0.5)
    """
    table = np.array(list(subjects), np.float64).reshape(-1, 2)
    count = len(table)
    if count == 0:
        return Mean(0, 0, float("nan"), float("nan"))
    decisions, earned = table.sum(axis=0)
    value = earned / decisions
    rest = table[:, 1] - value * table[:, 0]
    variance = float("nan") if count < 2 else float(rest @ rest) / (count * (count - 1)) * (count / decisions) ** 2
    return Mean(count, int(decisions), float(value), variance)


def lift_of(policy: Mean, holdout: Mean) -> Lift | None:
    """Compare two groups; None where one has fewer than two subjects."""
    if min(policy.subjects, holdout.subjects) < 2:
        return None
    variance = policy.variance + holdout.variance
    freedom = _freedom(policy, holdout)
    difference = _around(policy.value - holdout.value, variance, freedom)
    of_holdout = holdout.interval
    if of_holdout is None or not of_holdout.low > 0.0:
        return Lift(difference, None)
    ratio = policy.value / holdout.value
    relative = _around(ratio - 1.0, (policy.variance + ratio**2 * holdout.variance) / holdout.value**2, freedom)
    return Lift(difference, relative)


def _freedom(one: Mean, other: Mean) -> float:
    parts = one.variance**2 / (one.subjects - 1) + other.variance**2 / (other.subjects - 1)
    freedom = (one.variance + other.variance) ** 2 / parts if parts > 0.0 else float("nan")
    return freedom if isfinite(freedom) else min(one.subjects, other.subjects) - 1


def _around(value: float, variance: float, freedom: float) -> Interval:
    reach = float(stdtrit(freedom, 0.5 + LEVEL / 2.0)) * sqrt(variance)
    return Interval(value, value - reach, value + reach)
