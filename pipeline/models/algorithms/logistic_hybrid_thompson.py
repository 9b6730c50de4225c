"""Thompson sampling on a logistic model that arms share, for rewards in [0, 1] (`logistic_hybrid.py` says the model).

Log-odds of the arms in a context are jointly normal, as scores are in `hybrid_thompson.py`: what is unsure of all arms
alike is taken out, and the chance that an arm's are the largest is integrated. Odds rise with log-odds, so that is the
chance of being the one most likely to succeed. For arms that are alike and new ones, where clicks are rare.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pipeline.models.algorithms.hybrid_thompson import particular
from pipeline.models.chances.best_arm import gaussian_best
from pipeline.models.grid import Grid
from pipeline.models.model import NORMAL_975, AlgorithmInfo, Estimates, Floats, Parameter, Posterior, Sums
from pipeline.models.regressions.hybrid import deviations, scores
from pipeline.models.regressions.logistic import RIDGE, chance
from pipeline.models.regressions.logistic_hybrid import RIDGE_OWN, logistic_hybrid_posterior


@dataclass(frozen=True)
class LogisticHybridThompson:
    """See the module."""

    name: ClassVar[str] = "logistic_hybrid_thompson"

    ridge_shared: float
    """λ: a shared coefficient is thought to be N(0, 1/λ) beforehand."""
    ridge_own: float
    """μ: an arm's own is thought to be N(0, 1/μ) beside."""
    sharpness: float
    """How many times what is known counts when choosing; 1: as it is."""

    def posterior(self, statistics: Sequence[Sums], grid: Grid) -> Posterior:
        """Return the posterior of log-odds; see `logistic_hybrid_posterior`."""
        return logistic_hybrid_posterior(self.name, statistics, grid, self.ridge_shared, self.ridge_own)

    def probabilities(self, posterior: Posterior, context: Floats | None) -> Floats:
        """Return P(the arm's log-odds are the largest), to 1e-6, for arms without their common part."""
        found = scores(posterior, context)
        return gaussian_best(found.mean, np.sqrt(particular(found) / self.sharpness))

    def estimates(self, posterior: Posterior, context: Floats | None) -> Estimates:
        """Return the chance of success at the mode, and at the ends of the central 95 % of the log-odds."""
        found = scores(posterior, context)
        reach = NORMAL_975 * deviations(found)
        return Estimates(chance(found.mean), chance(found.mean - reach), chance(found.mean + reach))


INFO = AlgorithmInfo(
    parameters={
        "ridge_shared": RIDGE,
        "ridge_own": RIDGE_OWN,
        "sharpness": Parameter(1.0, 1.0, 100.0, "times that what is known counts when choosing"),
    },
    needs_context=True,
    needs_unit_reward=True,
    learns_across_arms=True,
    counts_contexts=True,
    build=LogisticHybridThompson,
)
