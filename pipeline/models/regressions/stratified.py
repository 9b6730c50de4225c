"""Arms' means over strata of time, each with its standard error (`sums/strata.py`)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.models.grid import REWARD_LIMIT, Grid, reward_from_grid
from pipeline.models.model import Floats
from pipeline.models.regressions.empirical import empirical_posterior
from pipeline.models.sums.strata import Stratum


def stratified(strata: Sequence[Stratum], grid: Grid) -> tuple[Floats, Floats]:
    """Return each arm's mean and standard error, (K,) each, in units of reward.

    A variance leans on that of all arms of its stratum, as if of one decision more. And of each arm one event more
    counts as seen, as large as events are on the whole (Σr² / Σr: of clicks one): an arm of a hundred decisions that
    has earned nothing yet is not known to a thousandth.
    """
    weights = np.array([stratum.weight for stratum in strata])
    weights = weights / weights.sum()
    posteriors = [empirical_posterior(stratum.arms, grid).parameters for stratum in strata]
    means = np.array([known["mean"] for known in posteriors])
    counts = np.array([known["n"] for known in posteriors])
    variances = np.array([known["variance"] for known in posteriors])
    pooled = (counts * variances).sum(axis=1, keepdims=True) / counts.sum(axis=1, keepdims=True)
    squared = (counts * variances + pooled) / (counts + 1.0) / counts
    earned = abs(float((counts * means).sum()))
    widest = reward_from_grid(REWARD_LIMIT, grid.reward_exponent)
    event = float((counts * (variances + means * means)).sum()) / earned if earned else widest
    of_one = (weights * weights) @ (1.0 / counts) / counts.sum(axis=0)
    return weights @ means, np.sqrt((weights * weights) @ squared + min(event, widest) ** 2 * of_one)
