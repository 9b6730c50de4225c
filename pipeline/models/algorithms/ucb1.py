"""UCB1, for rewards in [0, 1] (Auer, Cesa-Bianchi & Fischer 2002, figure 1).

    index = mean + sqrt(alpha ln t / n),   t = Σ n over the arms

The arm with the largest index is chosen with probability 1, shared equally by exact ties; one that nobody has tried
has an infinite one. alpha = 2 is the paper's.
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


def log_decisions(posterior: Posterior) -> float:
    """Return ln t, and 0 before the first decision."""
    return float(np.log(max(decisions(posterior), 1.0)))


@dataclass(frozen=True)
class Ucb1:
    """See the module."""

    name: ClassVar[str] = "ucb1"

    alpha: float
    """How wide the bound is."""

    def posterior(self, statistics: Sequence[Sums], grid: Grid) -> Posterior:
        """Return the arms' empirical moments."""
        return empirical_posterior(statistics, grid)

    def probabilities(self, posterior: Posterior, context: Floats | None) -> Floats:  # noqa: ARG002
        """Return 1 for the arm with the largest bound."""
        n, mean = posterior.parameters["n"], posterior.parameters["mean"]
        width = np.full(len(n), np.inf)
        np.divide(self.alpha * log_decisions(posterior), n, out=width, where=n > 0)
        return largest(mean + np.sqrt(width))

    def estimates(self, posterior: Posterior, context: Floats | None) -> Estimates:  # noqa: ARG002
        """Return the mean ± 1.96 standard errors."""
        return empirical_estimates(posterior)


INFO = AlgorithmInfo(
    parameters={"alpha": Parameter(2.0, 0.0, 1e3, "width of the bound: sqrt(alpha ln t / n)")},
    needs_context=False,
    needs_unit_reward=True,
    build=Ucb1,
)
