"""Upper confidence bounds on a logistic model that arms share (UCB-GLM of Li, Lu & Zhou 2017, with hybrid features).

The arm with the largest mean + alpha deviation of its log-odds is chosen with probability 1, shared equally by exact
ties; the posterior is that of `logistic_hybrid.py`, and estimates are those of `logistic_hybrid_thompson.py`. alpha is
in standard deviations of log-odds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from pipeline.models.algorithms.logistic_hybrid_thompson import LogisticHybridThompson
from pipeline.models.chances.largest import largest
from pipeline.models.grid import Grid
from pipeline.models.model import AlgorithmInfo, Estimates, Floats, Parameter, Posterior, Sums
from pipeline.models.regressions.hybrid import deviations, scores
from pipeline.models.regressions.logistic import RIDGE
from pipeline.models.regressions.logistic_hybrid import RIDGE_OWN, logistic_hybrid_posterior


@dataclass(frozen=True)
class LogisticHybridUcb:
    """See the module."""

    name: ClassVar[str] = "logistic_hybrid_ucb"

    ridge_shared: float
    """λ: a shared coefficient is thought to be N(0, 1/λ) beforehand."""
    ridge_own: float
    """μ: an arm's own is thought to be N(0, 1/μ) beside."""
    alpha: float
    """How many standard deviations an arm is given credit for."""

    def posterior(self, statistics: Sequence[Sums], grid: Grid) -> Posterior:
        """Return the posterior of log-odds; see `logistic_hybrid_posterior`."""
        return logistic_hybrid_posterior(self.name, statistics, grid, self.ridge_shared, self.ridge_own)

    def probabilities(self, posterior: Posterior, context: Floats | None) -> Floats:
        """Return 1 for the arm with the largest index, shared by exact ties, and 0 for the others."""
        found = scores(posterior, context)
        return largest(found.mean + self.alpha * deviations(found))

    def estimates(self, posterior: Posterior, context: Floats | None) -> Estimates:
        """Return the chance of success at the mode, and at the ends of the central 95 % of the log-odds."""
        return LogisticHybridThompson(self.ridge_shared, self.ridge_own, 1.0).estimates(posterior, context)


INFO = AlgorithmInfo(
    parameters={
        "ridge_shared": RIDGE,
        "ridge_own": RIDGE_OWN,
        "alpha": Parameter(0.5, 0.0, 1e6, "standard deviations of the log-odds that an arm is given credit for"),
    },
    needs_context=True,
    needs_unit_reward=True,
    learns_across_arms=True,
    counts_contexts=True,
    build=LogisticHybridUcb,
)
