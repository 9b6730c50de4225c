"""ε-greedy, fixed or decaying (Sutton & Barto 2018, section 2.2; Auer, Cesa-Bianchi & Fischer 2002, figure 3).

    ε_t = ε halves_at / (halves_at + t)   with t decisions so far; ε where halves_at is 0

With 1 - ε_t the arm with the best mean is chosen, shared equally by exact ties; with ε_t any arm alike. An arm
that nobody has tried comes before all others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pipeline.models.chances.floor import apply_floor
from pipeline.models.chances.largest import largest
from pipeline.models.grid import Grid
from pipeline.models.model import AlgorithmInfo, Estimates, Floats, Parameter, Posterior, Sums
from pipeline.models.regressions.empirical import decisions, empirical_estimates, empirical_posterior


@dataclass(frozen=True)
class EpsilonGreedy:
    """See the module."""

    name: ClassVar[str] = "epsilon_greedy"

    epsilon: float
    """Share of decisions that go to any arm alike, at first."""
    halves_at: float
    """Decisions after which that share has halved; 0: it stays."""

    def posterior(self, statistics: Sequence[Sums], grid: Grid) -> Posterior:
        """Return the arms' empirical moments."""
        return empirical_posterior(statistics, grid)

    def probabilities(self, posterior: Posterior, context: Floats | None) -> Floats:  # noqa: ARG002
        """Return ε_t/K for every arm, and the rest for the best one."""
        epsilon = self.epsilon
        if self.halves_at > 0.0:
            epsilon *= self.halves_at / (self.halves_at + decisions(posterior))
        index = np.where(posterior.parameters["n"] > 0, posterior.parameters["mean"], np.inf)
        return apply_floor(largest(index), epsilon / posterior.arm_count)

    def estimates(self, posterior: Posterior, context: Floats | None) -> Estimates:  # noqa: ARG002
        """Return the mean ± 1.96 standard errors."""
        return empirical_estimates(posterior)


INFO = AlgorithmInfo(
    parameters={
        "epsilon": Parameter(0.1, 0.0, 1.0, "share of decisions that go to any arm alike"),
        "halves_at": Parameter(0.0, 0.0, 1e12, "decisions after which that share has halved, 0 for never"),
    },
    needs_context=False,
    needs_unit_reward=False,
    build=EpsilonGreedy,
)
