"""Thompson sampling for rewards in [0, 1] where segments share what they know of an arm (empirical Bayes).

An arm's means in the segments are thought to be drawn from one Beta distribution, which is estimated from all segments'
statistics by moments (Kleinman 1973). With p̂ the pooled mean and G segments that have tried the arm,

    S = Σ n_s (p_s - p̂)²      E[S] = p̂ (1 - p̂) [(1 - ρ)(G - 1) + ρ (N - Σ n_s² / N)],   N = Σ n_s
    weight = 1/ρ - 1           decisions that the other segments are worth, at most `most`

solved for ρ in [0, 1]. A segment's prior is that weight of what the *other* segments saw, so its own data count once:

    alpha = prior_alpha + weight p_others + Σr,   beta = prior_beta + weight (1 - p_others) + n - Σr

So a segment that is new borrows strength, and one with much data of its own hardly does; where segments differ, ρ is
large and nobody borrows much. From one segment alone nothing can be told, and the weight is 0. (Rewards between 0 and
1 vary less than coins do, so segments look more alike than they are: `most` bounds what comes of it.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pipeline.models.algorithms.beta_thompson import PRIOR, BetaThompson
from pipeline.models.grid import Grid
from pipeline.models.model import AlgorithmInfo, Estimates, Floats, Parameter, Posterior, Sums


@dataclass(frozen=True)
class HierarchicalThompson:
    """See the module."""

    name: ClassVar[str] = "hierarchical_thompson"

    prior_alpha: float
    """Successes that the prior is worth beside what the segments share."""
    prior_beta: float
    """Failures that the prior is worth beside what the segments share."""
    most: float
    """Most decisions that the other segments together may be worth."""

    def posterior(self, statistics: Sequence[Sums], grid: Grid) -> Posterior:
        """Return alpha and beta, (K,) each, of a segment that is alone."""
        return self.posteriors([statistics], grid)[0]

    def posteriors(self, segments: Sequence[Sequence[Sums]], grid: Grid) -> list[Posterior]:
        """Return alpha and beta, (K,) each, of every segment."""
        alone = [BetaThompson(self.prior_alpha, self.prior_beta).posterior(rows, grid) for rows in segments]
        successes = np.array([one.parameters["alpha"] for one in alone]) - self.prior_alpha
        failures = np.array([one.parameters["beta"] for one in alone]) - self.prior_beta
        lent_successes, lent_failures = lent(np.maximum(successes, 0.0), np.maximum(failures, 0.0), self.most)
        return [
            Posterior({"alpha": one.parameters["alpha"] + more, "beta": one.parameters["beta"] + less})
            for one, more, less in zip(alone, lent_successes, lent_failures, strict=True)
        ]

    def probabilities(self, posterior: Posterior, context: Floats | None) -> Floats:
        """Return P(the arm's mean is the largest), to 1e-6."""
        return BetaThompson(self.prior_alpha, self.prior_beta).probabilities(posterior, context)

    def estimates(self, posterior: Posterior, context: Floats | None) -> Estimates:
        """Return the posterior mean and its central 95 %."""
        return BetaThompson(self.prior_alpha, self.prior_beta).estimates(posterior, context)


def lent(successes: Floats, failures: Floats, most: float) -> tuple[Floats, Floats]:
    """Return the successes and failures that each segment borrows from the others, (G, K) each, given its own."""
    n = successes + failures
    N, total = _sum(n), _sum(successes)
    weight = np.minimum(_weight(n, successes, N, total), most)
    others = N - n
    # What the others have seen is shrunk to the weight, and never stretched to it.
    share = np.divide(np.minimum(weight, others), others, out=np.zeros_like(others), where=others > 0)
    return share * np.maximum(total - successes, 0.0), share * np.maximum(others - (total - successes), 0.0)


def _weight(n: Floats, successes: Floats, N: Floats, total: Floats) -> Floats:
    """Return 1/ρ - 1 of each arm, (K,); infinite where the segments differ no more than chance would have it."""
    tried = _sum((n > 0).astype(np.float64))
    p = np.divide(total, N, out=np.zeros_like(N), where=N > 0)
    means = np.divide(successes, n, out=np.zeros_like(n), where=n > 0)
    S = _sum(n * (means - p) * (means - p))
    within = p * (1.0 - p) * (tried - 1.0)
    between = p * (1.0 - p) * (N - np.divide(_sum(n * n), N, out=np.zeros_like(N), where=N > 0)) - within
    excess = S - within
    # ρ = excess / between, so 1/ρ - 1 = (between - excess) / excess.
    weight = np.full_like(N, np.inf)
    np.divide(np.maximum(between - excess, 0.0), excess, out=weight, where=excess > 0)
    return np.where((tried > 1) & (between > 0), weight, 0.0)


def _sum(by_segment: Floats) -> Floats:
    """Sum over the segments, in their order."""
    total = np.zeros(by_segment.shape[1])
    for row in by_segment:
        total += row
    return total


INFO = AlgorithmInfo(
    parameters={
        "prior_alpha": Parameter(*PRIOR, "successes that the prior is worth beside what the segments share"),
        "prior_beta": Parameter(*PRIOR, "failures that the prior is worth beside what the segments share"),
        "most": Parameter(100.0, 0.0, 1e6, "most decisions that the other segments together may be worth"),
    },
    needs_context=False,
    needs_unit_reward=True,
    build=HierarchicalThompson,
)
