"""Thompson sampling with one ridge regression per arm (Agrawal & Goyal 2013, algorithm 1).

θ of an arm is thought of as N(θ̂, v² A_post⁻¹), so its index θᵀx in one context is N(θ̂ᵀx, v² xᵀ A_post⁻¹ x),
independent of the other arms'. The chance that it is the largest is integrated, never sampled.

v is in reward units. With v the standard deviation of a reward around its prediction, the posterior is Bayes'
own for the prior θ ~ N(0, v²/λ I) and Gaussian noise. The default, 0.25, is the deviation of a click that comes
1 time in 15, and half of the largest that any reward in [0, 1] can have; where that is too narrow or too wide
for a policy's rewards, set it to their standard deviation. (The v of the paper's theorem, R sqrt(9 d ln(t/δ)),
is for its proof: with it, exploration all but never ends.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from pipeline.models.chances.best_arm import gaussian_best
from pipeline.models.grid import Grid
from pipeline.models.model import NORMAL_975, AlgorithmInfo, Estimates, Floats, Parameter, Posterior, Sums
from pipeline.models.regressions.linear import RIDGE, linear_posterior, predict


@dataclass(frozen=True)
class LinearThompson:
    """See the module."""

    name: ClassVar[str] = "linear_thompson"

    ridge: float
    """λ: how many observations of each feature at 1 the prior is worth."""
    v: float
    """Standard deviation of a reward around its prediction, in reward units."""

    def posterior(self, statistics: Sequence[Sums], grid: Grid) -> Posterior:
        """Return theta (K, d) and covariance (K, d, d), without the factor v²."""
        derived = linear_posterior(statistics, grid, self.ridge)
        return Posterior({"theta": derived.theta, "covariance": derived.covariance})

    def probabilities(self, posterior: Posterior, context: Floats | None) -> Floats:
        """Return P(the arm's index is the largest), to 1e-6."""
        mean, width = predict(posterior, context)
        return gaussian_best(mean, self.v * width)

    def estimates(self, posterior: Posterior, context: Floats | None) -> Estimates:
        """Return θ̂ᵀx and the central 95 % of the index's distribution."""
        mean, width = predict(posterior, context)
        reach = NORMAL_975 * self.v * width
        return Estimates(mean, mean - reach, mean + reach)


INFO = AlgorithmInfo(
    parameters={
        "ridge": RIDGE,
        "v": Parameter(0.25, 1e-6, 1e6, "standard deviation of a reward around its prediction, in reward units"),
    },
    needs_context=True,
    needs_unit_reward=False,
    build=LinearThompson,
)
