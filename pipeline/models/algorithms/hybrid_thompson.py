"""Thompson sampling with what arms share and what is each arm's own (`hybrid.py` says the model).

The arms' scores in a context are N(mean, v² C), and C is not diagonal: what is unsure of all arms alike moves no
ranking. That common part is taken out, and P(the arm's score is the largest) is integrated for independent arms of
variance

    v² max(C_aa - c, own_a)   where c is the least covariance of any two arms

So no difference between two arms is thought surer than it is: arms that share more than c are explored a little more
than Thompson would, and where all pairs share alike (as untried arms without features do) it is exact. The vector
drawn from is this one, so that what is logged is the probability, exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pipeline.models.chances.best_arm import gaussian_best
from pipeline.models.grid import Grid
from pipeline.models.model import NORMAL_975, AlgorithmInfo, Estimates, Floats, Parameter, Posterior, Sums
from pipeline.models.regressions.hybrid import (
    RIDGE_OWN,
    RIDGE_SHARED,
    Scores,
    deviations,
    hybrid_posterior,
    least_covariance,
    scores,
    shared_variance,
)


@dataclass(frozen=True)
class HybridThompson:
    """See the module."""

    name: ClassVar[str] = "hybrid_thompson"

    ridge_shared: float
    """λ."""
    ridge_own: float
    """μ."""
    v: float
    """Standard deviation of a reward around its prediction, in reward units."""

    def posterior(self, statistics: Sequence[Sums], grid: Grid) -> Posterior:
        """Return the hybrid posterior, without the factor v²."""
        return hybrid_posterior(statistics, grid, self.ridge_shared, self.ridge_own)

    def probabilities(self, posterior: Posterior, context: Floats | None) -> Floats:
        """Return P(the arm's score is the largest), to 1e-6, for arms without their common part."""
        found = scores(posterior, context)
        return gaussian_best(found.mean, self.v * np.sqrt(particular(found)))

    def estimates(self, posterior: Posterior, context: Floats | None) -> Estimates:
        """Return the mean and the central 95 % of the score's distribution."""
        found = scores(posterior, context)
        reach = NORMAL_975 * self.v * deviations(found)
        return Estimates(found.mean, found.mean - reach, found.mean + reach)


def particular(found: Scores) -> Floats:
    """Return each arm's variance less what all arms have in common, (K,)."""
    variance: Floats = found.own + np.maximum(shared_variance(found) - least_covariance(found), 0.0)
    return variance


INFO = AlgorithmInfo(
    parameters={
        "ridge_shared": RIDGE_SHARED,
        "ridge_own": RIDGE_OWN,
        "v": Parameter(0.25, 1e-6, 1e6, "standard deviation of a reward around its prediction, in reward units"),
    },
    needs_context=True,
    needs_unit_reward=False,
    learns_across_arms=True,
    build=HybridThompson,
)
