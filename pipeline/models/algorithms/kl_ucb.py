"""KL-UCB+, for rewards in [0, 1] (Garivier & Cappé 2011, section 2 and remark on the "+" variant of section 5).

    index = max { q : n kl(mean, q) <= scale ln(t / n) },   kl(p, q) = p ln(p/q) + (1 - p) ln((1 - p)/(1 - q))

Far tighter than UCB1 where means lie near 0, as click rates do: kl is the divergence of coins, and no reward in
[0, 1] with the same mean departs from it faster. The arm with the largest index is chosen with probability 1, shared
equally by exact ties; one that nobody has tried has an infinite one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.special import rel_entr

from pipeline.models.chances.largest import largest
from pipeline.models.grid import Grid
from pipeline.models.model import AlgorithmInfo, Estimates, Floats, Parameter, Posterior, Sums
from pipeline.models.regressions.empirical import decisions, empirical_estimates, empirical_posterior

_HALVINGS = 53  # of an interval within [0, 1]: to the last bit


@dataclass(frozen=True)
class KlUcb:
    """See the module."""

    name: ClassVar[str] = "kl_ucb"

    scale: float
    """How much divergence an arm is given credit for, in units of ln(t / n)."""

    def posterior(self, statistics: Sequence[Sums], grid: Grid) -> Posterior:
        """Return the arms' empirical moments."""
        return empirical_posterior(statistics, grid)

    def probabilities(self, posterior: Posterior, context: Floats | None) -> Floats:  # noqa: ARG002
        """Return 1 for the arm with the largest bound."""
        n, mean = posterior.parameters["n"], posterior.parameters["mean"]
        tried = n > 0
        index = np.full(len(n), np.inf)
        index[tried] = upper_bounds(mean[tried], self.scale * np.log(decisions(posterior) / n[tried]) / n[tried])
        return largest(index)

    def estimates(self, posterior: Posterior, context: Floats | None) -> Estimates:  # noqa: ARG002
        """Return the mean ± 1.96 standard errors."""
        return empirical_estimates(posterior)


def upper_bounds(mean: Floats, divergence: Floats) -> Floats:
    """Return the largest q with kl(mean, q) <= divergence, (K,), by halving."""
    low, high = mean, np.ones_like(mean)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2.0
        is_within = rel_entr(mean, middle) + rel_entr(1.0 - mean, 1.0 - middle) <= divergence
        low, high = np.where(is_within, middle, low), np.where(is_within, high, middle)
    return low


INFO = AlgorithmInfo(
    parameters={"scale": Parameter(1.0, 1e-3, 1e3, "width of the bound, in units of ln(t / n)")},
    needs_context=False,
    needs_unit_reward=True,
    build=KlUcb,
)
