"""Features of a day against the week before: how their values are distributed, and which are unusual. Pure.

Context vectors begin with a 1, so the first row of A = Σ x xᵀ is Σ x and its diagonal Σ x²: exact means and spreads of
every entry, and exact counts of every word, by bucket, of all decisions.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from pipeline.models.grid import FEATURE_BITS
from pipeline.models.model import Floats
from pipeline.models.sums.statistics import Statistics
from pipeline.monitor.compare import differ, is_sure, normal_stability_index, stability_index
from pipeline.monitor.reading import Figure, Monitor, Reading, worst
from pipeline.monitor.view import FEWEST, Period, View
from pipeline.policy.definition import PolicyDefinition
from pipeline.policy.kinds import (
    BooleanFeature,
    CategoricalFeature,
    ClockFeature,
    CyclicFeature,
    Feature,
    HashedFeature,
    OptionalFeature,
)
from pipeline.policy.samples import BOUNDS

LEAST_VARIANCE = 2.0**-20
"""Of an entry that hardly varies."""


class Placed(NamedTuple):
    """A feature and where it stands in the vector."""

    name: str
    plain: Feature
    """Without what wraps it."""
    start: int
    missing_at: int | None
    """The entry that says it is missing."""


class Moments(NamedTuple):
    """Of each entry."""

    n: int
    mean: Floats
    square: Floats
    """Mean of x²."""


def placed(definition: PolicyDefinition) -> Iterator[Placed]:
    """Yield the features in order, but for those that come round: an hour is another one by itself."""
    start = 1
    for feature in definition.features.features:
        plain, missing_at = feature, None
        if isinstance(plain, OptionalFeature):
            plain, missing_at = plain.of, start + feature.width - 1
        if not isinstance(plain, (ClockFeature, CyclicFeature)):
            yield Placed(feature.name, plain, start, missing_at)
        start += feature.width


def entry_moments(pooled: Statistics) -> Moments:
    """Return means of all entries."""
    matrix, _ = pooled.moments()
    scale = 2.0 ** (-2 * FEATURE_BITS) / pooled.n
    exact = matrix.astype(np.float64) * scale
    return Moments(pooled.n, exact[0], np.diag(exact))


def categories(one: Placed, known: Moments) -> Floats | None:
    """Return how many decisions had each of a feature's values; None for a number."""
    inner = slice(one.start, one.start + one.plain.width)
    missing = [] if one.missing_at is None else [known.square[one.missing_at] * known.n]
    if isinstance(one.plain, BooleanFeature):
        there = known.square[one.start] * known.n
        yes = 0.5 * (there + known.mean[one.start] * known.n)
        return np.array([yes, there - yes, *missing])
    if isinstance(one.plain, (CategoricalFeature, HashedFeature)):
        return np.array([*(known.square[inner] * known.n), *missing])
    return None


def read(view: View) -> Reading:
    """Compare the distributions of all features."""
    found = _pooled(view)
    if isinstance(found, str):
        return Reading(withheld=found)
    recent, before = found
    threshold, all_of = view.threshold("features"), list(placed(view.definition))
    deviations = view.deviations(len(all_of))
    figures, is_red = [], False
    for one in all_of:
        now, was = categories(one, recent), categories(one, before)
        if now is not None and was is not None:
            index = stability_index(now, was)
            is_red |= index > threshold and differ(now, was, deviations)
        else:
            index, is_moved = _of_numbers(one, recent, before, deviations)
            is_red |= index > threshold and is_moved
        figures.append(Figure("stability_index", index, one.name))
    return Reading(worst(figures, 0.0), is_red)


def _of_numbers(one: Placed, recent: Moments, before: Moments, deviations: float) -> tuple[float, bool]:
    """Return the largest index of a feature's entries, and whether any mean or spread moved by more than chance."""
    largest, is_moved = 0.0, False
    for place in range(one.start, one.start + one.plain.width):
        mean, was = float(recent.mean[place]), float(before.mean[place])
        variance = max(LEAST_VARIANCE, float(recent.square[place]) - mean * mean)
        variance_was = max(LEAST_VARIANCE, float(before.square[place]) - was * was)
        largest = max(largest, normal_stability_index(mean, variance, was, variance_was))
        is_moved |= is_sure(mean - was, variance / recent.n + variance_was / before.n, deviations)
        # x² lies in [0, 1] but for standardised features, which are clipped at 8.
        widest = max(1.0, float(max(recent.square[place], before.square[place])))
        apart = float(recent.square[place] - before.square[place])
        is_moved |= is_sure(apart, widest**2 * (1.0 / recent.n + 1.0 / before.n), deviations)
    return largest, is_moved


def _pooled(view: View) -> tuple[Moments, Moments] | str:
    """Return the moments of the two periods, or why there are none."""
    if not view.definition.features.stand_in_the_vector:
        return "no-context"
    if view.shown.withheld:
        return view.shown.withheld
    recent, before = view.shown.recent.pooled(), view.shown.before.pooled()
    if recent is None or before is None or recent.n < FEWEST or before.n < FEWEST:
        return "few"
    return entry_moments(recent), entry_moments(before)


def read_unusual(view: View) -> Reading:
    """Look at what is missing, unknown, or at a bound, against the week before."""
    found = _pooled(view)
    if isinstance(found, str):
        return Reading(withheld=found)
    shares = [*_unusual(view.definition, *found), *_at_bounds(view)]
    threshold, deviations = view.threshold("unusual"), view.deviations(len(shares))
    figures, is_red = [], False
    for name, of, (share, n), (was, m) in shares:
        variance = share * (1.0 - share) / n + was * (1.0 - was) / m + 1.0 / n**2
        is_red |= share - was > threshold and is_sure(share - was, variance, deviations)
        figures.append(Figure(name, share - was, of))
    return Reading(worst(figures, 0.0), is_red)


_Share = tuple[float, float]
"""A share, and of how many."""


def _unusual(
    definition: PolicyDefinition, recent: Moments, before: Moments
) -> Iterator[tuple[str, str, _Share, _Share]]:
    for one in placed(definition):
        if one.missing_at is not None:
            shares = (float(each.square[one.missing_at]) for each in (recent, before))
            now, was = shares
            yield "missing_points", one.name, (now, recent.n), (was, before.n)
        if isinstance(one.plain, CategoricalFeature) and one.plain.has_other:
            last = one.start + one.plain.width - 1
            now, was = (float(each.square[last]) for each in (recent, before))
            yield "unknown_points", one.name, (now, recent.n), (was, before.n)


def _at_bounds(view: View) -> Iterator[tuple[str, str, _Share, _Share]]:
    names = [feature.name for feature in view.definition.features.features]
    recent, before = (_bounds(period, 1 + len(names)) for period in (view.shown.recent, view.shown.before))
    if min(recent[0], before[0]) < FEWEST:
        return
    for place, name in enumerate(names, 1):
        if recent[place] or before[place]:
            now, was = recent[place] / recent[0], before[place] / before[0]
            yield "at_bounds_points", name, (float(now), float(recent[0])), (float(was), float(before[0]))


def _bounds(period: Period, width: int) -> Floats:
    return period.tally(BOUNDS, width)


MONITOR = Monitor(
    "features",
    "how a feature's values are distributed: the last day against the week before, by the population stability index",
    "a day",
    read,
)
UNUSUAL = Monitor(
    "unusual",
    "values that are missing, in no list, or at a bound (sampled): the last day against the week before",
    "a day",
    read_unusual,
)
