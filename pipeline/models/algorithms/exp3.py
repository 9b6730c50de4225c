"""EXP3, for rewards in [0, 1] that anybody may choose, an adversary too (Auer, Cesa-Bianchi, Freund & Schapire 2002).

    Ĝ_a = Σ r/p   over the decisions that showed a              what a would have earned, shown every time
    w_a = exp(η Ĝ_a) / Σ exp(η Ĝ_b),   p_a = (1 - γ) w_a + γ/K   figure 1
    γ = min(1, sqrt(K ln K / ((e - 1) g))),   η = γ/K            corollary 3.2, g a bound of the best arm's Ĝ

No bound g is known beforehand. It is max Ĝ_a, as far as that has come: what EXP3.1 (section 4) doubles towards, here
without its restarts, since the posterior is a function of the sums whatever was drawn with before.

Ĝ_a counts what is above the average of all decisions: r - c in place of r, with c = Σr / Σn. Were all arms on offer in
all decisions, that would take the same from each arm in expectation, and change no ranking: it takes noise out, as
predictions do in Wei & Luo (2018), and an arm that comes later begins as good as the average instead of with nothing.
The proof goes through: it needs η (r - c)/p at most 1, which the share γ sees to.

p is the propensity that was logged, after floors and guardrails, so what is drawn with on the way, late outcomes and
snapshots that lag leave Ĝ unbiased. Whether regret stays within the paper's bound then, no proof says.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pipeline.models.chances.floor import apply_floor
from pipeline.models.grid import Grid
from pipeline.models.model import AlgorithmInfo, Estimates, Floats, Parameter, Posterior, Sums
from pipeline.models.regressions.empirical import empirical_estimates
from pipeline.models.regressions.importance import advantages, importance_posterior


@dataclass(frozen=True)
class Exp3:
    """See the module."""

    name: ClassVar[str] = "exp3"

    rate: float
    """By what γ is multiplied, and η with it."""

    def posterior(self, statistics: Sequence[Sums], grid: Grid) -> Posterior:
        """Return the arms' empirical moments, and drawn and earned, (K,) each; see `importance_posterior`."""
        return importance_posterior(self.name, statistics, grid)

    def probabilities(self, posterior: Posterior, context: Floats | None) -> Floats:  # noqa: ARG002
        """Return p. It's the same in every context: keep it."""
        K = posterior.arm_count
        g = float(posterior.parameters["earned"].max())
        wanted = K * math.log(K) / (math.e - 1.0)
        share = min(1.0, self.rate * math.sqrt(wanted / g)) if g > 0.0 else 1.0
        index = share / K * advantages(posterior)
        weights = np.exp(index - index.max())
        return apply_floor(weights / weights.sum(), share / K)

    def estimates(self, posterior: Posterior, context: Floats | None) -> Estimates:  # noqa: ARG002
        """Return the mean ± 1.96 standard errors, of the decisions that showed the arm."""
        return empirical_estimates(posterior)


INFO = AlgorithmInfo(
    parameters={"rate": Parameter(1.0, 0.01, 100.0, "times the paper's rate of learning, and of exploring")},
    needs_context=False,
    needs_unit_reward=True,
    counts_propensities=True,
    build=Exp3,
)
