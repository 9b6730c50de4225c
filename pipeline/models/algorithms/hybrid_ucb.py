"""LinUCB with hybrid linear models (Li, Chu, Langford & Schapire 2010, algorithm 2).

The arm with the largest mean + alpha deviation of its score is chosen with probability 1, shared equally by exact ties;
`hybrid.py` says what arms share. alpha is in reward units.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from pipeline.models.chances.largest import largest
from pipeline.models.grid import Grid
from pipeline.models.model import NORMAL_975, AlgorithmInfo, Estimates, Floats, Parameter, Posterior, Sums
from pipeline.models.regressions.hybrid import RIDGE_OWN, RIDGE_SHARED, deviations, hybrid_posterior, scores


@dataclass(frozen=True)
class HybridUcb:
    """See the module."""

    name: ClassVar[str] = "hybrid_ucb"

    ridge_shared: float
    """λ."""
    ridge_own: float
    """μ."""
    alpha: float
    """How many deviations (at unit noise) an arm is given credit for, in reward units."""

    def posterior(self, statistics: Sequence[Sums], grid: Grid) -> Posterior:
        """Return the hybrid posterior."""
        return hybrid_posterior(statistics, grid, self.ridge_shared, self.ridge_own)

    def probabilities(self, posterior: Posterior, context: Floats | None) -> Floats:
        """Return 1 for the arm with the largest index, shared by exact ties, and 0 for the others."""
        found = scores(posterior, context)
        return largest(found.mean + self.alpha * deviations(found))

    def estimates(self, posterior: Posterior, context: Floats | None) -> Estimates:
        """Return the mean ± 1.96 standard errors, by the measured noise."""
        found = scores(posterior, context)
        reach = NORMAL_975 * posterior.parameters["noise"] * deviations(found)
        return Estimates(found.mean, found.mean - reach, found.mean + reach)


INFO = AlgorithmInfo(
    parameters={
        "ridge_shared": RIDGE_SHARED,
        "ridge_own": RIDGE_OWN,
        # The deviation of a click that comes one time in ten; the proofs ask for more, and pay for it.
        "alpha": Parameter(0.3, 0.0, 1e6, "deviations (at unit noise) that an arm is given credit for"),
    },
    needs_context=True,
    needs_unit_reward=False,
    learns_across_arms=True,
    build=HybridUcb,
)
