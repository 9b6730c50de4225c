"""Thompson sampling with one Bayesian logistic regression per arm, for rewards in [0, 1] (Chapelle & Li 2011).

θ of an arm is thought of as N(θ̂, H⁻¹), Laplace's approximation (`logistic.py`), so its log-odds in one context are
N(θ̂ᵀx, xᵀ H⁻¹ x), independent of the other arms'. Odds rise with log-odds, so the arm of the largest log-odds is the one
most likely to succeed, and the chance of being that is integrated, never sampled: exact for this posterior.

A likelihood has no finite sums, so it wants the counts by context: (x → n, Σr), exact and additive as sums are
(`contexts.py`). A reward between 0 and 1 counts as that fraction of a success and the rest of a failure, as in
`beta_thompson.py`. For choosing, the covariance may be divided by `sharpness`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pipeline.errors import StateError
from pipeline.models.chances.best_arm import gaussian_best
from pipeline.models.grid import Grid
from pipeline.models.model import NORMAL_975, AlgorithmInfo, Estimates, Floats, Parameter, Posterior, Sums
from pipeline.models.regressions.linear import predict
from pipeline.models.regressions.logistic import RIDGE, chance, laplace
from pipeline.models.sums.contexts import ContextSums


@dataclass(frozen=True)
class LogisticThompson:
    """See the module."""

    name: ClassVar[str] = "logistic_thompson"

    ridge: float
    """λ: a coefficient is thought to be N(0, 1/λ) beforehand."""
    sharpness: float
    """How many times what is known counts when choosing; 1: as it is."""

    @property
    def v(self) -> float:
        """By what the log-odds' standard deviation is multiplied when choosing."""
        return float(1.0 / np.sqrt(self.sharpness))

    def posterior(self, statistics: Sequence[Sums], grid: Grid) -> Posterior:
        """Return theta (K, d) and covariance (K, d, d), in log-odds; O(K m d²) for m distinct contexts.

        Raises StateError where decisions were not counted by context.
        """
        modes = []
        for sums in statistics:
            if not isinstance(sums, ContextSums):
                raise StateError(f"{self.name} wants decisions counted by context, seen sums of {sums.n} decisions")
            successes = np.ldexp(sums.rewards, -grid.reward_exponent)
            failures = np.maximum(sums.counts - successes, 0.0)  # all but 0 by rounding, where decisions fade
            modes.append(laplace(sums.contexts, successes, failures, self.ridge))
        return Posterior(
            {
                "theta": np.stack([mode.theta for mode in modes]),
                "covariance": np.stack([mode.covariance for mode in modes]),
            }
        )

    def probabilities(self, posterior: Posterior, context: Floats | None) -> Floats:
        """Return P(the arm's log-odds are the largest), to 1e-6."""
        mean, width = predict(posterior, context)
        return gaussian_best(mean, self.v * width)

    def estimates(self, posterior: Posterior, context: Floats | None) -> Estimates:
        """Return the chance of success at θ̂, and at the ends of the central 95 % of the log-odds."""
        mean, width = predict(posterior, context)
        reach = NORMAL_975 * width
        return Estimates(chance(mean), chance(mean - reach), chance(mean + reach))


INFO = AlgorithmInfo(
    parameters={
        "ridge": RIDGE,
        "sharpness": Parameter(1.0, 1.0, 100.0, "times that what is known counts when choosing"),
    },
    needs_context=True,
    needs_unit_reward=True,
    counts_contexts=True,
    build=LogisticThompson,
)
