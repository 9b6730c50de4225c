"""LinUCB with disjoint linear models (Li, Chu, Langford & Schapire 2010, algorithm 1).

The arm with the largest θ̂ᵀx + alpha sqrt(xᵀ A_post⁻¹ x) is chosen with probability 1, shared equally by exact
ties. alpha is in reward units.

The index is a bound for choosing, not an interval with a coverage. For `estimates` the noise is measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from pipeline.models.chances.largest import largest
from pipeline.models.grid import Grid
from pipeline.models.model import NORMAL_975, AlgorithmInfo, Estimates, Floats, Parameter, Posterior, Sums
from pipeline.models.regressions.linear import RIDGE, linear_posterior, measured_noise, predict


@dataclass(frozen=True)
class LinUcb:
    """See the module."""

    name: ClassVar[str] = "lin_ucb"

    ridge: float
    """λ: how many observations of each feature at 1 the prior is worth."""
    alpha: float
    """How many units of sqrt(xᵀ A_post⁻¹ x) an arm is given credit for, in reward units."""

    def posterior(self, statistics: Sequence[Sums], grid: Grid) -> Posterior:
        """Return theta (K, d), covariance (K, d, d) without the noise, and noise (K,) in reward units."""
        derived = linear_posterior(statistics, grid, self.ridge)
        noise = measured_noise(statistics, grid, derived)
        return Posterior({"theta": derived.theta, "covariance": derived.covariance, "noise": noise})

    def probabilities(self, posterior: Posterior, context: Floats | None) -> Floats:
        """Return 1 for the arm with the largest index, shared by exact ties, and 0 for the others."""
        mean, width = predict(posterior, context)
        return largest(mean + self.alpha * width)

    def estimates(self, posterior: Posterior, context: Floats | None) -> Estimates:
        """Return θ̂ᵀx ± 1.96 standard errors, by the measured noise."""
        mean, width = predict(posterior, context)
        reach = NORMAL_975 * posterior.parameters["noise"] * width
        return Estimates(mean, mean - reach, mean + reach)


INFO = AlgorithmInfo(
    parameters={
        "ridge": RIDGE,
        "alpha": Parameter(0.5, 0.0, 1e6, "standard errors (at unit noise) that an arm is given credit for"),
    },
    needs_context=True,
    needs_unit_reward=False,
    build=LinUcb,
)
