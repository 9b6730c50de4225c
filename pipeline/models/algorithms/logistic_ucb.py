"""Upper confidence bounds with one Bayesian logistic regression per arm (Li, Chu, Langford, Moon & Wang 2012, UCB-GLM).

The arm with the largest θ̂ᵀx + alpha sqrt(xᵀ H⁻¹ x) is chosen with probability 1, shared equally by exact ties; the
posterior is that of `logistic_thompson.py`, and so are the estimates. alpha is in standard deviations of log-odds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from pipeline.models.algorithms.logistic_thompson import LogisticThompson
from pipeline.models.chances.largest import largest
from pipeline.models.grid import Grid
from pipeline.models.model import AlgorithmInfo, Estimates, Floats, Parameter, Posterior, Sums
from pipeline.models.regressions.linear import predict
from pipeline.models.regressions.logistic import RIDGE


@dataclass(frozen=True)
class LogisticUcb:
    """See the module."""

    name: ClassVar[str] = "logistic_ucb"

    ridge: float
    """λ: a coefficient is thought to be N(0, 1/λ) beforehand."""
    alpha: float
    """How many standard deviations an arm is given credit for."""

    def posterior(self, statistics: Sequence[Sums], grid: Grid) -> Posterior:
        """Return theta (K, d) and covariance (K, d, d), in log-odds; see `LogisticThompson.posterior`."""
        return self._thompson.posterior(statistics, grid)

    def probabilities(self, posterior: Posterior, context: Floats | None) -> Floats:
        """Return 1 for the arm with the largest index, shared by exact ties, and 0 for the others."""
        mean, width = predict(posterior, context)
        return largest(mean + self.alpha * width)

    def estimates(self, posterior: Posterior, context: Floats | None) -> Estimates:
        """Return the chance of success at θ̂, and at the ends of the central 95 % of the log-odds."""
        return self._thompson.estimates(posterior, context)

    @property
    def _thompson(self) -> LogisticThompson:
        return LogisticThompson(self.ridge, 1.0)


INFO = AlgorithmInfo(
    parameters={
        "ridge": RIDGE,
        "alpha": Parameter(0.5, 0.0, 1e6, "standard deviations of the log-odds that an arm is given credit for"),
    },
    needs_context=True,
    needs_unit_reward=True,
    counts_contexts=True,
    build=LogisticUcb,
)
