"""Ridge regressions of one arm each on standardised features, their noise and their ridge measured over all arms.

    x̃ = (x - m) / s            m, s: mean and deviation of each feature over all arms' decisions; the constant stays 1
    r̃ = r - r̄                  r̄: mean reward of all arms
    P_k = (Ã_k + Λ)⁻¹,  θ_k = P_k b̃_k        Λ = λ on features, 1 on the constant
    RSS_k = Σ r̃² - b̃_kᵀ θ_k
    σ² = (Σ RSS_k + V + Σ r̃² / N) / (N + 2)   V = (high - low)² / 4: the largest variance that rewards can have

λ by the evidence (MacKay 1992, equation 4.9), with a weak hyperprior worth 0.3 d effective parameters, in a fixed
number of steps so that it is a function of the sums:

    γ = Σ_k Σ_i (1 - λ P_k,ii),   S = Σ θ²,   λ ← (γ + 0.3 d) / (S / σ² + 0.3 d / λ₀)

**What no line follows.** The last entries of a vector may be units that bend (`policy/random_units.py`). They are a
block with a λ of its own, and are left out unless the sums say that they explain more than so many coefficients would
by chance: of both regressions the one counts whose evidence is the larger,

    ln p = -½ N ln σ² + ½ Σ_k (ln |Λ| - ln |Ã_k + Λ|) - ½ (Σ RSS_k + V) / σ²

So everything follows when rewards are multiplied or shifted, or features stretched: no number is in anybody's unit.

Invariant: as in `linear.py`, the same sums give the same bytes on every machine: elementwise, in the order written.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pipeline.errors import StateError
from pipeline.models.grid import FEATURE_BITS, Grid, reward_from_grid
from pipeline.models.model import Floats, Sums
from pipeline.models.regressions.linear import solve

STEPS = 5
"""Of the evidence: from the fourth on λ hardly moves."""
FIRST_RIDGE = 1.0
MOST = 100_000
"""Entries of all covariances up to which units that bend are looked at: beyond, a posterior would take too long."""
HYPERPRIOR = 0.3
"""How many effective parameters a feature the first ridge is worth."""


class StandardisedPosterior(NamedTuple):
    """K regressions on d entries of a context vector, told in its own units again."""

    theta: Floats
    """(K, d) coefficients, reward units per feature unit."""
    covariance: Floats
    """(K, d', d') times a variance of the noise it is the covariance of θ; d' < d where units are left out."""
    noise: float
    """σ, in reward units."""
    ridge: float
    """λ."""
    wide_ridge: float
    """λ of the units that bend; 0 where they are left out."""
    n: Floats
    """(K,) decisions."""


class _Moments(NamedTuple):
    """Of standardised features and centred rewards."""

    A: Floats
    b: Floats
    squares: Floats
    n: Floats
    centre: Floats
    scale: Floats
    mean_reward: float

    def some(self, d: int) -> _Moments:
        """Return those of the first d entries."""
        return self._replace(A=self.A[:, :d, :d], b=self.b[:, :d], centre=self.centre[:d], scale=self.scale[:d])


class _Evidenced(NamedTuple):
    """Regressions of standardised features on centred rewards, their ridges by the evidence."""

    theta: Floats
    covariance: Floats
    variance: float
    ridges: list[float]
    evidence: float
    """ln p, but for what all regressions on the same rewards have in common."""


def standardised_posterior(statistics: Sequence[Sums], grid: Grid, wide: int = 0) -> StandardisedPosterior:
    """Derive all arms' regressions, the last `wide` entries by the evidence; O(K d³).

    Raises StateError where an arm has n < 0.
    """
    known = _moments(statistics, grid)
    d, (low, high) = known.b.shape[1], grid.range
    widest = (high - low) ** 2 / 4.0
    narrow = d - wide
    chosen = _evidenced(known.some(narrow), [slice(1, narrow)], widest)
    wide_ridge = 0.0
    if wide and len(statistics) * d * d <= MOST:
        bent = _evidenced(known, [slice(1, narrow), slice(narrow, d)], widest)
        if bent.evidence > chosen.evidence:
            chosen, wide_ridge = bent, bent.ridges[1]
    used = chosen.theta.shape[1]
    told, covariance = _told_again(known.some(used), chosen.theta, chosen.covariance)
    theta = np.zeros((len(told), d))
    theta[:, :used] = told
    return StandardisedPosterior(
        theta, covariance, float(np.sqrt(chosen.variance)), chosen.ridges[0], wide_ridge, known.n
    )


def _evidenced(known: _Moments, blocks: Sequence[slice], widest: float) -> _Evidenced:
    """Derive the regressions with a ridge for each block of features; the constant's penalty is 1."""
    d = known.b.shape[1]
    spread, total = _sum(known.squares), float(_sum(known.n))
    ridges = [FIRST_RIDGE for _ in blocks]
    for step in range(STEPS + 1):
        penalty = np.ones(d)
        for block, ridge in zip(blocks, ridges, strict=True):
            penalty[block] = ridge
        derived = solve(known.A + np.diag(penalty), known.b, float(penalty.min()))
        unexplained = np.maximum(known.squares - derived.explained, 0.0)
        missed = float(_sum(unexplained)) + widest
        variance = (missed + float(spread) / max(total, 1.0)) / (total + 2.0)
        if step == STEPS or d == 1:
            break
        for place, block in enumerate(blocks):
            theta = derived.theta[:, block]
            diagonal = np.diagonal(derived.covariance, axis1=1, axis2=2)[:, block]
            weak = HYPERPRIOR * max(theta.shape[1], 1)
            effective = float(_sum(_sum((1.0 - ridges[place] * diagonal).T)))
            size = float(_sum(_sum((theta * theta).T)))
            ridges[place] = (effective + weak) / (size / variance + weak / FIRST_RIDGE)
    shrunk = 0.5 * len(known.b) * float(_sum(np.log(penalty))) - float(_sum(_sum(np.log(derived.roots).T)))
    evidence = shrunk - 0.5 * total * float(np.log(variance)) - 0.5 * missed / variance
    return _Evidenced(derived.theta, derived.covariance, variance, ridges, evidence)


def _moments(statistics: Sequence[Sums], grid: Grid) -> _Moments:
    if any(sums.n < 0 for sums in statistics):
        raise StateError(f"statistics of fewer than no decisions: n = {[sums.n for sums in statistics]}")
    pairs = [sums.moments() for sums in statistics]
    A = np.ldexp(np.stack([A for A, _ in pairs]).astype(np.float64), -2 * FEATURE_BITS)
    b = np.ldexp(np.stack([b for _, b in pairs]).astype(np.float64), -FEATURE_BITS - grid.reward_exponent)
    n = np.array([float(sums.n) for sums in statistics])
    rewards = np.array([reward_from_grid(sums.reward_sum, grid.reward_exponent) for sums in statistics])
    squares = np.array([reward_from_grid(sums.reward_square_sum, 2 * grid.reward_exponent) for sums in statistics])
    total = float(_sum(n))
    mean_reward = float(_sum(rewards)) / total if total > 0 else 0.0
    pooled = _sum(A)
    count = max(float(pooled[0, 0]), 0.0)
    centre = pooled[0] / count if count > 0 else np.zeros(len(pooled))
    centre[0] = 0.0
    spread = np.diagonal(pooled) - 2.0 * centre * pooled[0] + centre * centre * count
    # A feature that never varied says nothing: it stays 0, whatever is left of it by rounding.
    varies = spread > 1e-9 * np.diagonal(pooled)
    scale = np.sqrt(np.where(varies, spread, 1.0) / max(count, 1.0))
    scale[0] = 1.0
    b = b - mean_reward * A[:, 0, :]
    squares = np.maximum(squares - 2.0 * mean_reward * rewards + mean_reward * mean_reward * n, 0.0)
    first = A[:, 0, :].copy()
    A = (
        A
        - centre[:, None] * first[:, None, :]
        - first[:, :, None] * centre
        + centre[:, None] * centre * first[:, :1, None]
    ) / (scale[:, None] * scale)
    b = (b - centre * b[:, :1]) / scale
    keep = varies.copy()
    keep[0] = True
    return _Moments(A * (keep[:, None] & keep), b * keep, squares, n, centre, scale, mean_reward)


def _told_again(known: _Moments, theta: Floats, covariance: Floats) -> tuple[Floats, Floats]:
    """Return θ and P in units of the context vector: θᵀx̃ + r̄ and x̃ᵀ P x̃ as functions of x."""
    centre, scale = known.centre, known.scale
    theta = theta / scale
    covariance = covariance / (scale[:, None] * scale)
    d = theta.shape[1]
    # x̃ = D (x - m x₀): the first row and column take what the others lose by the shift.
    for i in range(1, d):
        theta[:, 0] -= centre[i] * theta[:, i]
    theta[:, 0] += known.mean_reward
    row = covariance[:, 0, :].copy()
    for i in range(1, d):
        row -= centre[i] * covariance[:, i, :]
    corner = row[:, 0].copy()
    for i in range(1, d):
        corner -= centre[i] * row[:, i]
    covariance[:, 0, :] = row
    covariance[:, :, 0] = row
    covariance[:, 0, 0] = corner
    return theta, covariance


def _sum(parts: Floats) -> Floats:
    """Sum over the first axis, in order."""
    total = np.zeros(parts.shape[1:])
    for part in parts:
        total = total + part
    return total
