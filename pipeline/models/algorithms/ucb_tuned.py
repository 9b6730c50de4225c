"""UCB-tuned, for rewards in [0, 1]: a bound by the measured variance (Auer, Cesa-Bianchi & Fischer 2002, section 4).

    index = mean + sqrt(ln t / n · min(1/4, variance + sqrt(2 ln t / n)))

1/4 is the largest variance that a reward in [0, 1] can have. No theorem holds for it; on few arms it is hard to beat.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pipeline.models.algorithms.ucb1 import log_decisions
from pipeline.models.chances.largest import largest
from pipeline.models.grid import Grid
from pipeline.models.model import AlgorithmInfo, Estimates, Floats, Posterior, Sums
from pipeline.models.regressions.empirical import empirical_estimates, empirical_posterior

_WIDEST_VARIANCE = 0.25


@dataclass(frozen=True)
class UcbTuned:
    """See the module."""

    name: ClassVar[str] = "ucb_tuned"

    def posterior(self, statistics: Sequence[Sums], grid: Grid) -> Posterior:
        """Return the arms' empirical moments."""
        return empirical_posterior(statistics, grid)

    def probabilities(self, posterior: Posterior, context: Floats | None) -> Floats:  # noqa: ARG002
        """Return 1 for the arm with the largest bound."""
        n, mean, variance = (posterior.parameters[name] for name in ("n", "mean", "variance"))
        share = np.full(len(n), np.inf)
        np.divide(log_decisions(posterior), n, out=share, where=n > 0)
        widest = np.minimum(_WIDEST_VARIANCE, variance + np.sqrt(2.0 * share))
        return largest(mean + np.sqrt(share * widest))

    def estimates(self, posterior: Posterior, context: Floats | None) -> Estimates:  # noqa: ARG002
        """Return the mean ± 1.96 standard errors."""
        return empirical_estimates(posterior)


INFO = AlgorithmInfo(parameters={}, needs_context=False, needs_unit_reward=True, build=UcbTuned)
