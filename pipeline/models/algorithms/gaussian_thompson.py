"""Thompson sampling for rewards of any size without context, mean and variance unknown (Normal-inverse-gamma).

    κ = κ₀ + n          m = (κ₀ m₀ + Σr) / κ          a = a₀ + n/2
    b = b₀ + ½ (n variance + κ₀ n (mean - m₀)² / κ)

(Murphy 2007, "Conjugate Bayesian analysis of the Gaussian distribution", equations 85 to 89; Honda & Takemura 2014 on
the choice of a prior). The mean of an arm is then m + sqrt(b / (a κ)) t with 2a degrees of freedom, and the chance
that it is the largest is integrated, never sampled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.special import stdtrit

from pipeline.models.chances.best_student import student_best
from pipeline.models.grid import Grid
from pipeline.models.model import AlgorithmInfo, Estimates, Floats, Parameter, Posterior, Sums
from pipeline.models.regressions.empirical import empirical_posterior


@dataclass(frozen=True)
class GaussianThompson:
    """See the module."""

    name: ClassVar[str] = "gaussian_thompson"

    prior_mean: float
    """m₀, in reward units."""
    prior_weight: float
    """κ₀: how many decisions the prior mean is worth."""
    prior_deviation: float
    """sqrt(b₀ / a₀): the deviation of a reward, in reward units."""
    prior_shape: float
    """a₀: half as many decisions as that deviation is worth."""

    def posterior(self, statistics: Sequence[Sums], grid: Grid) -> Posterior:
        """Return location, scale and freedom of each arm's mean, (K,) each."""
        known = empirical_posterior(statistics, grid).parameters
        n, mean, variance = known["n"], known["mean"], known["variance"]
        kappa = self.prior_weight + n
        distance = mean - self.prior_mean
        a = self.prior_shape + 0.5 * n
        b_0 = self.prior_shape * self.prior_deviation * self.prior_deviation
        b = b_0 + 0.5 * (n * variance + self.prior_weight * n * distance * distance / kappa)
        location = (self.prior_weight * self.prior_mean + n * mean) / kappa
        return Posterior({"location": location, "scale": np.sqrt(b / (a * kappa)), "freedom": 2.0 * a})

    def probabilities(self, posterior: Posterior, context: Floats | None) -> Floats:  # noqa: ARG002
        """Return P(the arm's mean is the largest), to 1e-6."""
        return student_best(*(posterior.parameters[name] for name in ("location", "scale", "freedom")))

    def estimates(self, posterior: Posterior, context: Floats | None) -> Estimates:  # noqa: ARG002
        """Return the location and the central 95 %."""
        location, scale = posterior.parameters["location"], posterior.parameters["scale"]
        reach = scale * stdtrit(posterior.parameters["freedom"], 0.975)
        return Estimates(location, location - reach, location + reach)


INFO = AlgorithmInfo(
    parameters={
        "prior_mean": Parameter(0.0, -1e12, 1e12, "mean of a reward, in reward units"),
        "prior_weight": Parameter(1.0, 1e-6, 1e6, "decisions that the prior mean is worth"),
        "prior_deviation": Parameter(0.5, 1e-6, 1e12, "standard deviation of a reward, in reward units"),
        # One degree of freedom at the least: with fewer no mean has a scale.
        "prior_shape": Parameter(1.0, 0.5, 1e6, "half as many decisions as the prior deviation is worth"),
    },
    needs_context=False,
    needs_unit_reward=False,
    build=GaussianThompson,
)
