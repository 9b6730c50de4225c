"""A/B test: equal shares for so many decisions, then the arm with the best mean.

The test is over once all arms together have had `decisions` of them; 0 means that it never is. From then on the arm
with the largest mean is chosen with probability 1, shared equally by exact ties. It is a function of the statistics,
so it can still change its mind while late outcomes, or what the exploration floor brings, change the means.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pipeline.models.chances.largest import largest
from pipeline.models.grid import Grid
from pipeline.models.model import AlgorithmInfo, Estimates, Floats, Parameter, Posterior, Sums
from pipeline.models.regressions.empirical import decisions, empirical_estimates, empirical_posterior


@dataclass(frozen=True)
class FixedSplit:
    """See the module."""

    name: ClassVar[str] = "fixed_split"

    decisions: float
    """How many decisions the test takes; 0: it goes on for ever."""

    def posterior(self, statistics: Sequence[Sums], grid: Grid) -> Posterior:
        """Return the arms' empirical moments."""
        return empirical_posterior(statistics, grid)

    def probabilities(self, posterior: Posterior, context: Floats | None) -> Floats:  # noqa: ARG002
        """Return 1/K each during the test, then 1 for the winner."""
        if self.decisions == 0 or decisions(posterior) < self.decisions:
            return np.full(posterior.arm_count, 1.0 / posterior.arm_count)
        tried = posterior.parameters["n"] > 0
        return largest(np.where(tried, posterior.parameters["mean"], -np.inf))

    def estimates(self, posterior: Posterior, context: Floats | None) -> Estimates:  # noqa: ARG002
        """Return the mean ± 1.96 standard errors."""
        return empirical_estimates(posterior)


INFO = AlgorithmInfo(
    parameters={"decisions": Parameter(2000.0, 0.0, 1e12, "decisions that the test takes, 0 for no end")},
    needs_context=False,
    needs_unit_reward=False,
    build=FixedSplit,
)
