"""What `auto` is without a context: KL-UCB without a number to choose, right at every horizon and on any scale.

With rewards brought to [0, 1] by their bounds, p̄ = (Σr + ½) / (N + 1) over all arms and v the variance within arms,

    μ_k = (Σ_k r + 2 p̄) / (n_k + 2)                      an arm nobody knows is like the others
    φ = v / p̄(1 - p̄) ≤ 1                                 how much less rewards vary than coins do
    φ_k = φ + (1 - φ) (n_k + 1)^-1.5                     what few rewards may not have shown yet
    index_k = sup { q : kl(μ_k, q) <= φ_k ln(1 + (N + 1) / (K (n_k + 1))) / (n_k + 2) }

(KL-UCB: Garivier & Cappé 2011; the level that is 0 for an arm with its share of all decisions: Audibert & Bubeck 2009,
whose horizon is N here.) The index is spread over the decisions to come (`chances/lookahead.py`).

Segments are pooled as far as they agree. Whether an arm's means are one in all of them is asked by Schwarz's criterion,

    a = 1 / (1 + exp(½ (X² - f ln(1 + N / cells)))),   X² = Σ n_sk (m_sk - m_k)² / v, of f degrees of freedom

and a segment counts that part of what the others have seen as its own: nearly all where they are alike, and nothing
where they differ, whatever any of them knows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from pipeline.models.algorithms.kl_ucb import upper_bounds
from pipeline.models.chances.lookahead import AHEAD, spread_ahead
from pipeline.models.grid import Grid
from pipeline.models.model import NORMAL_975, AlgorithmInfo, Estimates, Floats, Posterior, Sums
from pipeline.models.regressions.empirical import decisions, empirical_posterior, unshown

LIKE_THE_OTHERS = 2.0
"""Decisions that the mean of all arms is worth to each."""


class _Seen(NamedTuple):
    """Of rewards within [0, 1]; (G, K) each."""

    n: Floats
    total: Floats
    within: Floats
    """Σ (r - mean)² of the arm in the segment."""


@dataclass(frozen=True)
class AutoRates:
    """See the module."""

    name: ClassVar[str] = "auto_rates"

    def posterior(self, statistics: Sequence[Sums], grid: Grid) -> Posterior:
        """Return n, mean, standard_error and dispersion of a segment that is alone, (K,) each."""
        return self.posteriors([statistics], grid)[0]

    def posteriors(self, segments: Sequence[Sequence[Sums]], grid: Grid) -> list[Posterior]:
        """Return n, mean and standard_error in reward units, and dispersion, (K,) each, of every segment."""
        low, high = grid.range
        own = _seen(segments, grid)
        return [_posterior(one, low, high) for one in _pooled(own)]

    def probabilities(self, posterior: Posterior, context: Floats | None) -> Floats:  # noqa: ARG002
        """Return which part of the next decisions each arm would have. It's the same in every context: keep it."""
        n, dispersion = posterior.parameters["n"], posterior.parameters["dispersion"]
        low, high = posterior.shared["bounds"]
        mean = (posterior.parameters["mean"] - low) / (high - low)
        seen = n + LIKE_THE_OTHERS
        level = np.log1p((decisions(posterior) + 1.0) / (len(n) * (n + 1.0)))
        width = upper_bounds(mean, dispersion * level / seen) - mean
        return spread_ahead(mean, width * np.sqrt(seen), 1.0 / seen, AHEAD)

    def measured(self, posterior: Posterior) -> str:
        """See `Measures`."""
        part, n = float(posterior.parameters["dispersion"].min()), decisions(posterior)
        return f"rewards vary {part:.3g} of what coins of the same means do; {n:.0f} decisions count here"

    def estimates(self, posterior: Posterior, context: Floats | None) -> Estimates:  # noqa: ARG002
        """Return the mean ± 1.96 standard errors."""
        mean, error = posterior.parameters["mean"], posterior.parameters["standard_error"]
        return Estimates(mean, mean - NORMAL_975 * error, mean + NORMAL_975 * error)


def _seen(segments: Sequence[Sequence[Sums]], grid: Grid) -> _Seen:
    low, high = grid.range
    known = [empirical_posterior(rows, grid).parameters for rows in segments]
    n = np.array([one["n"] for one in known])
    mean = np.clip((np.array([one["mean"] for one in known]) - low) / (high - low), 0.0, 1.0)
    within = n * np.array([one["variance"] for one in known]) / (high - low) ** 2
    return _Seen(n, np.where(n > 0.0, n * mean, 0.0), within)


def _pooled(own: _Seen) -> list[_Seen]:
    """Return what each segment counts: its own, and of the others' as much as they agree; (K,) each."""
    agreement = agreement_of(own)
    summed = _Seen(*(_sum(one) for one in own))
    return [
        _Seen(*(mine + agreement * (all_of - mine) for mine, all_of in zip(one, summed, strict=True)))
        for one in (_Seen(*rows) for rows in zip(*own, strict=True))
    ]


def agreement_of(own: _Seen) -> float:
    """Return a: how sure it is that every arm is worth the same in all segments."""
    n, total, within = own
    tried = n > 0.0
    cells = int(tried.sum())
    freedom = sum(max(int(column.sum()) - 1, 0) for column in tried.T)
    if not freedom:
        return 0.0
    means = np.divide(total, n, out=np.zeros_like(n), where=tried)
    pooled = np.divide(_sum(total), _sum(n), out=np.zeros(n.shape[1]), where=_sum(n) > 0.0)
    N, spread = math.fsum(n.ravel()), math.fsum((n * (means - pooled) ** 2).ravel())
    variance = (math.fsum(within.ravel()) + _coin(own)) / (N + 1.0)
    exponent = 0.5 * (spread / variance - freedom * math.log1p(N / cells))
    return 1.0 / (1.0 + math.exp(min(exponent, 700.0)))


def _posterior(seen: _Seen, low: float, high: float) -> Posterior:
    n, total, within = seen
    N = math.fsum(n)
    likely, coin = _mean(seen), _coin(seen)
    mean = (total + LIKE_THE_OTHERS * likely) / (n + LIKE_THE_OTHERS)
    measured = min((math.fsum(within) + coin) / (N + 1.0) / coin, 1.0)
    dispersion = measured + (1.0 - measured) * unshown(n)
    error = (high - low) * np.sqrt(dispersion * mean * (1.0 - mean) / (n + LIKE_THE_OTHERS))
    return Posterior(
        {"n": n, "mean": low + (high - low) * mean, "standard_error": error, "dispersion": dispersion},
        {"bounds": np.array([low, high])},
    )


def _mean(seen: _Seen) -> float:
    return (math.fsum(seen.total.ravel()) + 0.5) / (math.fsum(seen.n.ravel()) + 1.0)


def _coin(seen: _Seen) -> float:
    return _mean(seen) * (1.0 - _mean(seen))


def _sum(by_segment: Floats) -> Floats:
    """Sum over the segments, in their order."""
    total = np.zeros(by_segment.shape[1])
    for row in by_segment:
        total += row
    return total


WORDS = "an upper bound of each arm's rate, its spread measured, segments pooled as far as they agree"

INFO = AlgorithmInfo(
    parameters={},
    needs_context=False,
    needs_unit_reward=False,
    build=AutoRates,
    pools=True,
    goes_by_bounds=True,
    words=WORDS,
)
