"""Tsallis-INF: near the best that can be had, be rewards chance or an adversary's (Zimmert & Seldin 2021, algorithm 1).

The w that come to 1 with the largest  Σ w_a Ĝ_a + (4 / η) Σ (sqrt(w_a) - w_a / 2)  are

    w_a = 4 / (η (x - Ĝ_a))²   with the x above all Ĝ_a for which they come to 1

where Ĝ_a = Σ (r - c)/p is what the arm would have earned above the average c, shown every time, as in `exp3.py`. The
paper has η = 2 / sqrt(t) after t decisions, for losses that may lie anywhere in [0, 1]. Here it goes by how far rewards
lie from their average: with s the root of the mean (r - c)²,

    η = rate / (s sqrt(t))

which is the paper's for s = 1/2, as of fair coins, and learns seven times as fast from clicks of 1 in 200.

Chances fall with the square of what an arm lacks, not exponentially as in EXP3: no arm is given up, few propensities
are tiny, and nothing need be mixed in. With x = max Ĝ + 2u/η, u is the root of Σ (u + η (max Ĝ - Ĝ_a)/2)⁻² = 1, in
[1, sqrt(K)]; from 1 Newton's steps rise to it, since the sum falls and is convex.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from pipeline.models.grid import Grid
from pipeline.models.model import AlgorithmInfo, Estimates, Floats, Parameter, Posterior, Sums
from pipeline.models.regressions.empirical import decisions, empirical_estimates
from pipeline.models.regressions.importance import advantages, average, importance_posterior

_STEPS = 100
_CLOSE = 2.0**-50
_WIDEST_VARIANCE = 0.25
"""Of rewards in [0, 1]; one decision of it is added, so that s is never 0."""


@dataclass(frozen=True)
class TsallisInf:
    """See the module."""

    name: ClassVar[str] = "tsallis_inf"

    rate: float
    """By what η is multiplied."""

    def posterior(self, statistics: Sequence[Sums], grid: Grid) -> Posterior:
        """Return the arms' empirical moments, and drawn and earned, (K,) each; see `importance_posterior`."""
        return importance_posterior(self.name, statistics, grid)

    def probabilities(self, posterior: Posterior, context: Floats | None) -> Floats:  # noqa: ARG002
        """Return w. It's the same in every context: keep it."""
        gains = advantages(posterior)
        lacks = self._rate(posterior) / 2.0 * (gains.max() - gains)
        u = 1.0
        for _ in range(_STEPS):
            terms = 1.0 / (u + lacks)
            step = float(((terms**2).sum() - 1.0) / (2.0 * (terms**3).sum()))
            u += step
            if step <= _CLOSE * u:
                break
        weights = (u + lacks) ** -2.0
        chances: Floats = weights / weights.sum()
        return chances

    def estimates(self, posterior: Posterior, context: Floats | None) -> Estimates:  # noqa: ARG002
        """Return the mean ± 1.96 standard errors, of the decisions that showed the arm."""
        return empirical_estimates(posterior)

    def _rate(self, posterior: Posterior) -> float:
        """Return η."""
        n, mean, variance = (posterior.parameters[name] for name in ("n", "mean", "variance"))
        spread = math.fsum(n * (variance + (mean - average(posterior)) ** 2)) + _WIDEST_VARIANCE
        t = decisions(posterior)
        return self.rate / math.sqrt(spread / (t + 1.0) * max(t, 1.0))


INFO = AlgorithmInfo(
    parameters={"rate": Parameter(1.0, 0.01, 100.0, "times the rate of learning that suits the rewards' spread")},
    needs_context=False,
    needs_unit_reward=True,
    counts_propensities=True,
    build=TsallisInf,
)
