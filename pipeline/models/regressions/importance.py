"""Arms' empirical moments, and beside them what each would have earned, had it been shown every time.

The sums are `sums/importance.py`'s, which has the source: Σ 1/p as drawn, Σ r/p as earned.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from pipeline.errors import StateError
from pipeline.models.grid import Grid, reward_from_grid
from pipeline.models.model import Floats, Posterior, Sums
from pipeline.models.regressions.empirical import empirical_posterior
from pipeline.models.sums.importance import ImportanceSums


def importance_posterior(name: str, statistics: Sequence[Sums], grid: Grid) -> Posterior:
    """Return the arms' empirical moments, and Σ 1/p and Σ r/p as drawn and earned, in units of reward, (K,) each.

    Raises StateError where decisions were not counted by propensity; `name` says who wants that.
    """
    drawn, earned = [], []
    for sums in statistics:
        if not isinstance(sums, ImportanceSums):
            raise StateError(f"{name} wants decisions counted by propensity, seen sums of {sums.n} decisions")
        drawn.append(sums.drawn)
        earned.append(reward_from_grid(sums.earned, grid.reward_exponent))
    known = empirical_posterior(statistics, grid).parameters
    return Posterior({**known, "drawn": np.array(drawn), "earned": np.array(earned)})


def average(posterior: Posterior) -> float:
    """Return c, the mean reward of all decisions of all arms; 0 before the first."""
    n, mean = posterior.parameters["n"], posterior.parameters["mean"]
    decided = math.fsum(n)
    return math.fsum(n * mean) / decided if decided > 0.0 else 0.0


def advantages(posterior: Posterior) -> Floats:
    """Return Σ (r - c)/p of each arm, (K,): what it would have earned above the average, shown every time."""
    above: Floats = posterior.parameters["earned"] - average(posterior) * posterior.parameters["drawn"]
    return above
