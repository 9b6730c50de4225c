"""Arms' means over strata of time, each with its standard error (`sums/strata.py`)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.models.grid import Grid
from pipeline.models.model import Floats
from pipeline.models.regressions.empirical import empirical_posterior
from pipeline.models.sums.strata import Stratum


def stratified(strata: Sequence[Stratum], grid: Grid) -> tuple[Floats, Floats]:
    """Return each arm's mean and standard error, (K,) each, in units of reward.

    A variance leans on that of all arms of its stratum, as if of one decision more: an arm that never varied is not
    certain.
    """
    weights = np.array([stratum.weight for stratum in strata])
    weights = weights / weights.sum()
    posteriors = [empirical_posterior(stratum.arms, grid).parameters for stratum in strata]
    means = np.array([known["mean"] for known in posteriors])
    counts = np.array([known["n"] for known in posteriors])
    variances = np.array([known["variance"] for known in posteriors])
    pooled = (counts * variances).sum(axis=1, keepdims=True) / counts.sum(axis=1, keepdims=True)
    squared = (counts * variances + pooled) / (counts + 1.0) / counts
    return weights @ means, np.sqrt((weights * weights) @ squared)
