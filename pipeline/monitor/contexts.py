"""What features tell of rewards: whether what they foretold came, and whether they go with rewards as before. Pure.

Both are functions of the sums that regressions learn from. Foretold is, for each segment and arm, by least squares of
the week before: rewards (b, A) and contexts (Σ x) of the day are all it takes.
"""

from __future__ import annotations

import numpy as np

from pipeline.models.grid import FEATURE_BITS
from pipeline.models.model import Floats
from pipeline.models.sums.statistics import Statistics
from pipeline.monitor.compare import is_sure
from pipeline.monitor.features import placed
from pipeline.monitor.reading import Figure, Monitor, Reading, worst
from pipeline.monitor.rewards import moments
from pipeline.monitor.view import FEWEST, View

RIDGE = 1.0
"""Of least squares, in decisions: it keeps entries that never were from deciding anything."""


def read_calibration(view: View) -> Reading:
    """Hold what was earned against what the contexts foretold."""
    if not view.definition.features.stand_in_the_vector:
        return Reading(withheld="no-context")
    pair = view.earned
    if pair.withheld:
        return Reading(withheld=pair.withheld)
    step = 2.0**-view.definition.reward_exponent
    earned = foretold = scale = variance = 0.0
    for where in pair.mix():
        now, was = pair.recent.rows[where], pair.before.rows[where]
        if now.dimension != was.dimension or not now.dimension:
            continue
        mean_was, of_one = moments(was, step)
        by_context, unsure = _foretold(now, was, step)
        earned += now.reward_sum * step
        foretold += by_context
        scale += now.n * abs(mean_was)
        variance += of_one * (now.n + unsure)
    if not scale:
        return Reading(withheld="few")
    difference = earned - foretold
    is_red = abs(difference) > view.threshold("calibration") * scale and is_sure(
        difference, variance, view.deviations(1)
    )
    return Reading((Figure("earned_ratio", 1.0 + difference / scale),), is_red)


def _foretold(now: Statistics, was: Statistics, step: float) -> tuple[float, float]:
    """Return the rewards that one row foretells for the contexts of another, and sᵀ A⁻¹ s, its variance in noises."""
    matrix, products = was.moments()
    later, _ = now.moments()
    a = matrix * 2.0 ** (-2 * FEATURE_BITS) + RIDGE * np.eye(was.dimension)
    b = products * 2.0**-FEATURE_BITS * step
    s = later[0] * 2.0 ** (-2 * FEATURE_BITS)
    weights = np.linalg.solve(a, s)
    return float(weights @ b), float(weights @ s)


def read_association(view: View) -> Reading:
    """Compare each feature's correlation with rewards with that of before (Fisher's z)."""
    if not view.definition.features.stand_in_the_vector:
        return Reading(withheld="no-context")
    pair = view.earned
    if pair.withheld:
        return Reading(withheld=pair.withheld)
    recent, before = pair.recent.pooled(), pair.before.pooled()
    if recent is None or before is None or min(recent.n, before.n) < FEWEST:
        return Reading(withheld="few")
    now, was = correlations(recent), correlations(before)
    threshold, all_of = view.threshold("association"), list(placed(view.definition))
    deviations = view.deviations(recent.dimension)
    variance = 1.0 / (recent.n - 3) + 1.0 / (before.n - 3)
    figures, is_red = [], False
    for one in all_of:
        places = range(one.start, one.start + one.plain.width)
        at = max(places, key=lambda place: abs(now[place] - was[place]))
        change = float(now[at] - was[at])
        apart = float(np.arctanh(np.clip(now[at], -0.999, 0.999)) - np.arctanh(np.clip(was[at], -0.999, 0.999)))
        is_red |= abs(change) > threshold and is_sure(apart, variance, deviations)
        figures.append(Figure("correlation_change", change, one.name))
    return Reading(worst(figures, 0.0), is_red)


def correlations(row: Statistics) -> Floats:
    """Return each entry's correlation with the reward; 0 of what never varies."""
    matrix, products = row.moments()
    n, reward = float(row.n), float(row.reward_sum)
    sums, squares = matrix[0] * 2.0**-FEATURE_BITS, np.diag(matrix).astype(np.float64)
    with_reward = products - sums * reward / n
    spread = (squares - sums * sums / n) * (row.reward_square_sum - reward * reward / n)
    found: Floats = np.where(spread > 0.0, with_reward / np.sqrt(np.where(spread > 0.0, spread, 1.0)), 0.0)
    return found


CALIBRATION = Monitor(
    "calibration",
    "what the last day that is over earned, against what its contexts foretold by the week before",
    "a day and the attribution window",
    read_calibration,
)
ASSOCIATION = Monitor(
    "association",
    "each feature's correlation with rewards: the last day that is over, against the week before",
    "a day and the attribution window",
    read_association,
)
