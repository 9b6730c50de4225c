"""Thompson sampling for counts without context: purchases, minutes, pages (Gamma-Poisson).

    shape = prior_shape + Σr,   rate = prior_rate + n

For whole numbers with a Poisson distribution this is Bayes' posterior of the arm's mean (Gelman et al. 2013, section
2.6). Any other reward of 0 or more is counted likewise; the mean comes out right, and the interval is that of a
Poisson count of the same mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.special import gammaincinv

from pipeline.errors import StateError
from pipeline.models.chances.best_gamma import gamma_best
from pipeline.models.grid import Grid, reward_from_grid
from pipeline.models.model import AlgorithmInfo, Estimates, Floats, Parameter, Posterior, Sums


@dataclass(frozen=True)
class PoissonThompson:
    """See the module."""

    name: ClassVar[str] = "poisson_thompson"

    prior_shape: float
    """Events that the prior is worth."""
    prior_rate: float
    """Decisions that the prior is worth."""

    def posterior(self, statistics: Sequence[Sums], grid: Grid) -> Posterior:
        """Return shape and rate, (K,) each. Raises StateError where an arm has n < 0 or Σr < 0."""
        pairs = [(sums.reward_sum, sums.n) for sums in statistics]
        if any(total < 0 or n < 0 for total, n in pairs):
            raise StateError(f"counts and decisions must not be negative: seen (Σr, n) = {pairs}")
        shape = [self.prior_shape + reward_from_grid(total, grid.reward_exponent) for total, _ in pairs]
        return Posterior({"shape": np.array(shape), "rate": np.array([self.prior_rate + n for _, n in pairs])})

    def probabilities(self, posterior: Posterior, context: Floats | None) -> Floats:  # noqa: ARG002
        """Return P(the arm's mean is the largest), to 1e-6."""
        return gamma_best(posterior.parameters["shape"], posterior.parameters["rate"])

    def estimates(self, posterior: Posterior, context: Floats | None) -> Estimates:  # noqa: ARG002
        """Return the posterior mean and its central 95 %."""
        shape, rate = posterior.parameters["shape"], posterior.parameters["rate"]
        low, high = (np.asarray(gammaincinv(shape, tail), np.float64) / rate for tail in (0.025, 0.975))
        return Estimates(shape / rate, low, high)


INFO = AlgorithmInfo(
    parameters={
        "prior_shape": Parameter(1.0, 0.5, 1e6, "events that the prior is worth"),
        "prior_rate": Parameter(1.0, 1e-9, 1e6, "decisions that the prior is worth"),
    },
    needs_context=False,
    needs_unit_reward=False,
    needs_nonnegative_reward=True,
    build=PoissonThompson,
)
