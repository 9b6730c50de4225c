"""Thompson sampling for rewards in [0, 1] without context (Chapelle & Li 2011, algorithm 2).

    alpha = prior_alpha + Σr,   beta = prior_beta + n - Σr

For rewards of 0 and 1 this is Bayes' posterior of the arm's mean. A reward between counts as that fraction of a
success and the rest of a failure: the mean comes out right, and as no reward in [0, 1] varies more than a coin
of the same mean does, the posterior is only ever too wide, never too narrow. (Agrawal & Goyal 2012 toss such a
coin instead; tossing would make statistics random.)

For choosing, both may be multiplied by `sharpness`: the mean stays, the deviation shrinks by its root (section 3 of
the paper, "posterior reshaping"). Thompson sampling explores more than few arms with plain rewards need.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.special import betaincinv

from pipeline.errors import StateError
from pipeline.models.chances.best_arm import beta_best
from pipeline.models.grid import Grid, reward_from_grid
from pipeline.models.model import AlgorithmInfo, Estimates, Floats, Parameter, Posterior, Sums

_UNIT_EXPONENT = 15  # that of rewards at most 1; smaller rewards have a larger one


@dataclass(frozen=True)
class BetaThompson:
    """See the module."""

    name: ClassVar[str] = "beta_thompson"

    prior_alpha: float
    """Successes that the prior is worth."""
    prior_beta: float
    """Failures that the prior is worth."""
    sharpness: float = 1.0
    """How many times what is known counts when choosing; 1: as it is."""

    def posterior(self, statistics: Sequence[Sums], grid: Grid) -> Posterior:
        """Return alpha and beta, (K,) each.

        Raises ValueError where the grid admits rewards above 1, StateError where an arm has n < 0 or more
        reward than decisions.
        """
        if grid.reward_exponent < _UNIT_EXPONENT:
            raise ValueError(f"rewards must lie in [0, 1]: their grid's exponent is {grid.reward_exponent}")
        one = 2**grid.reward_exponent  # the integer for a reward of 1, so that n - Σr is exact too
        pairs = [(sums.reward_sum, sums.n * one - sums.reward_sum) for sums in statistics]
        if any(successes < 0 or failures < 0 for successes, failures in pairs):
            raise StateError(f"successes and failures must not be negative: seen {pairs} in steps of 1/{one}")
        counts = np.array([[reward_from_grid(count, grid.reward_exponent) for count in pair] for pair in pairs])
        return Posterior({"alpha": self.prior_alpha + counts[:, 0], "beta": self.prior_beta + counts[:, 1]})

    def probabilities(self, posterior: Posterior, context: Floats | None) -> Floats:  # noqa: ARG002
        """Return P(the arm's mean is the largest), to 1e-6. It's the same in every context: keep it."""
        return beta_best(*(self.sharpness * posterior.parameters[name] for name in ("alpha", "beta")))

    def estimates(self, posterior: Posterior, context: Floats | None) -> Estimates:  # noqa: ARG002
        """Return the posterior mean and its central 95 %."""
        alpha, beta = posterior.parameters["alpha"], posterior.parameters["beta"]
        low, high = (np.asarray(betaincinv(alpha, beta, tail), np.float64) for tail in (0.025, 0.975))
        return Estimates(alpha / (alpha + beta), low, high)


PRIOR = (1.0, 0.5, 1e6)  # below Jeffreys' 0.5 a prior says that an arm's mean is 0 or 1

INFO = AlgorithmInfo(
    parameters={
        "prior_alpha": Parameter(*PRIOR, "successes that the prior is worth"),
        "prior_beta": Parameter(*PRIOR, "failures that the prior is worth"),
        "sharpness": Parameter(1.0, 1.0, 100.0, "times that what is known counts when choosing", is_implied=True),
    },
    needs_context=False,
    needs_unit_reward=True,
    build=BetaThompson,
)
