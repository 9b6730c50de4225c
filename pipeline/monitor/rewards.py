"""Rewards of a day against the week before: mean, spread, and the ends of what is earned. Pure.

Arms are weighed as they were shown lately, so that a policy that learns is no change of rewards.
"""

from __future__ import annotations

import numpy as np

from pipeline.models.model import Floats
from pipeline.models.sums.statistics import Statistics
from pipeline.monitor.compare import DESIGN, is_sure
from pipeline.monitor.reading import Figure, Monitor, Reading
from pipeline.monitor.view import FEWEST, Pair, View
from pipeline.policy.samples import REWARD, REWARD_COLUMNS, reward_least

SIZES = 8
"""Distinct columns of rewards below which quantiles jump from one to the next."""
QUANTILES = (("p5", 0.05), ("p95", 0.95))
FIGURES = 4


def read(view: View) -> Reading:
    """Compare them."""
    pair = view.earned
    if pair.withheld:
        return Reading(withheld=pair.withheld)
    threshold, deviations = view.threshold("reward"), view.deviations(FIGURES)
    mix, step = pair.mix(), 2.0**-view.definition.reward_exponent
    if not mix:
        return Reading(withheld="young")
    earned = expected = scale = variance = spread = spread_before = 0.0
    low, high = view.definition.reward.low, view.definition.reward.high
    for where, weight in mix.items():
        now, was = pair.recent.rows[where], pair.before.rows[where]
        (mean, of_one), (mean_was, of_one_was) = moments(now, step), moments(was, step)
        earned += now.n * mean
        expected += now.n * mean_was
        scale += now.n * abs(mean_was)
        variance += now.n * of_one + now.n * weight * of_one_was
        spread += now.n * of_one
        spread_before += now.n * of_one_was
    figures, is_red = [], False
    if scale:
        figures.append(Figure("mean_ratio", 1.0 + (earned - expected) / scale))
        is_red |= abs(earned - expected) > threshold * scale and is_sure(earned - expected, variance, deviations)
    if spread_before:
        figures.append(Figure("spread_ratio", spread / spread_before))
        # (r - μ)² of rewards within [low, high] lies in [0, R²], R the range: Bhatia and Davis once more.
        count, before = sum(pair.recent.rows[where].n for where in mix), sum(pair.before.rows[where].n for where in mix)
        widest = (high - low) ** 2 * max(spread, spread_before) / count
        apart = (spread - spread_before) / count
        is_red |= abs(spread / spread_before - 1.0) > threshold and is_sure(
            apart, widest * (1.0 / count + 1.0 / before), deviations
        )
    quantiles, moved = _quantiles(pair, mix, threshold, deviations, step)
    return Reading((*figures, *quantiles), bool(is_red or moved))


def moments(row: Statistics, step: float) -> tuple[float, float]:
    """Return the mean of a row's rewards and their variance, in units of reward."""
    mean = row.reward_sum / row.n
    return mean * step, max(0.0, row.reward_square_sum / row.n - mean * mean) * step * step


def _quantiles(
    pair: Pair, mix: dict[tuple[str, str], float], threshold: float, deviations: float, step: float
) -> tuple[list[Figure], bool]:
    """Compare quantiles of sampled rewards; a quantile moved where its interval lies beyond the threshold."""
    recent, before = pair.recent.tally(REWARD, REWARD_COLUMNS), pair.before.tally(REWARD, REWARD_COLUMNS, mix)
    if min(recent.sum(), pair.before.tally(REWARD, REWARD_COLUMNS).sum()) < FEWEST or (before > 0).sum() < SIZES:
        return [], False
    figures, moved = [], False
    for name, share in QUANTILES:
        was = _quantile(before, share) * step
        figures.append(Figure(name + "_before", was))
        figures.append(Figure(name, _quantile(recent, share) * step))
        reach = deviations * np.sqrt(DESIGN * share * (1.0 - share) * (1.0 / recent.sum() + 1.0 / before.sum()))
        low, high = (_quantile(recent, min(1.0, max(0.0, share + side * reach))) * step for side in (-1.0, 1.0))
        beyond = threshold * abs(was)
        moved |= bool(low > was + beyond or high < was - beyond)
    return figures, moved


def _quantile(histogram: Floats, share: float) -> float:
    """Return the reward, in grid units, below which a share lies; spread evenly within each column."""
    cumulative = histogram.cumsum()
    place = share * cumulative[-1]
    column = int(min(np.searchsorted(cumulative, place), len(histogram) - 1))
    low, high = _ends(column)
    inside = histogram[column]
    passed = (place - (cumulative[column] - inside)) / inside if inside else 0.0
    return float(low + passed * (high - low))


def _ends(column: int) -> tuple[float, float]:
    """Return the least and the largest reward of a column, in grid units."""
    near = reward_least(column)
    if near == 0.0:
        return 0.0, 0.0
    far = near * (1.5 if np.frexp(abs(near))[0] == 0.5 else 4.0 / 3.0)
    return (near, far) if near > 0.0 else (far, near)


MONITOR = Monitor(
    "reward",
    "mean, spread, p5 and p95 of rewards: the last day that is over, against the week before, arms weighed alike",
    "a day and the attribution window",
    read,
)
