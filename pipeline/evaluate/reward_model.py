"""What each arm would have earned: a ridge regression per segment and arm, fitted without the decision's own fold.

    θ = (λ I + A)⁻¹ (b - μ Σx),   q(x) = μ + θᵀx, kept within the rewards' bounds

with μ the segment's mean reward, so that an arm of which little is known is thought to be an average one. Without
features x is 1 alone: q = (Σr + λ μ) / (n + λ). Sums are exact integers, so a fold is left out by subtracting
it from the total. λ is the one of `RIDGES` with the least squared error on the decisions left out.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluate.folds import FOLDS
from pipeline.evaluate.log import Indices
from pipeline.models.grid import FEATURE_BITS, REWARD_LIMIT, features_from_grid, reward_exponent
from pipeline.models.model import Floats
from pipeline.models.sums.statistics import Statistics, fold
from pipeline.policy.kinds import GRID_ONE

RIDGES = (1.0, 10.0, 100.0, 1000.0)


class RewardModel(NamedTuple):
    """q for every fold, segment and arm."""

    mean: Floats
    """(folds, S) μ."""
    theta: Floats
    """(folds, S, K, d)."""
    ridge: float
    """λ."""
    bounds: tuple[float, float]

    def predict(self, which: Indices, segment: Indices, x: Floats) -> Floats:
        """Return q of every arm for m decisions, (m, K); `x` is (m, d)."""
        linear = np.einsum("mkd,md->mk", self.theta[which, segment], x)
        q: Floats = np.clip(self.mean[which, segment][:, None] + linear, *self.bounds)
        return q


def with_intercept(vectors: NDArray[np.int16]) -> NDArray[np.int16]:
    """Return context vectors as they are, or, where there are no features, an intercept alone."""
    return vectors if vectors.shape[1] else np.full((len(vectors), 1), GRID_ONE, np.int16)


def fit_reward_model(
    segment: Indices,
    arm: Indices,
    reward: Floats,
    vectors: NDArray[np.int16],
    which: Indices,
    *,
    counts: tuple[int, int],
    bounds: tuple[float, float],
) -> RewardModel:
    """Fit, one model a fold; O(folds S K d³).

    Args:
        segment: (N,) below counts[0].
        arm: (N,) below counts[1].
        reward: (N,) within `bounds`.
        vectors: (N, d), entry 0 an intercept of 1.
        which: (N,) fold of each.
        counts: S and K.
        bounds: smallest and largest reward.
    """
    exponent = reward_exponent(*bounds)
    mean, A, b = _moments(which, segment, arm, reward, vectors, (FOLDS, *counts), exponent)
    best: RewardModel | None = None
    least = np.inf
    x = features_from_grid(vectors)
    for ridge in RIDGES:
        shifted = b - mean[:, :, None, None] * A[..., 0]
        theta: Floats = np.linalg.solve(A + ridge * np.eye(A.shape[-1]), shifted[..., None])[..., 0].astype(np.float64)
        model = RewardModel(mean, theta, ridge, bounds)
        own = np.einsum("nd,nd->n", theta[which, segment, arm], x) + mean[which, segment]
        error = float(np.square(np.clip(own, *bounds) - reward).sum())
        if error < least:
            best, least = model, error
    if best is None:
        raise ValueError("no reward model fits: rewards or features are no numbers")
    return best


def _moments(
    which: Indices,
    segment: Indices,
    arm: Indices,
    reward: Floats,
    vectors: NDArray[np.int16],
    shape: tuple[int, int, int],
    exponent: int,
) -> tuple[Floats, Floats, Floats]:
    """Return μ (folds, S), A (folds, S, K, d, d) and b (folds, S, K, d) of all decisions outside each fold."""
    folds, S, K = shape
    d = vectors.shape[1]
    grid = np.clip(np.rint(np.ldexp(reward, exponent)), -REWARD_LIMIT, REWARD_LIMIT).astype(np.int64)
    groups = (which * S + segment) * K + arm
    sums = fold(groups, folds * S * K, np.ones_like(grid), grid, grid * grid, vectors).reshape(folds, S * K, -1)
    others = sums.sum(axis=0) - sums  # exact: what is left when a fold is taken back
    moments = [Statistics(d, row).moments() for row in others.reshape(folds * S * K, -1)]
    A = np.ldexp(np.stack([A for A, _ in moments]).astype(np.float64), -2 * FEATURE_BITS)
    b = np.ldexp(np.stack([b for _, b in moments]).astype(np.float64), -FEATURE_BITS - exponent)
    of_segment = others.reshape(folds, S, K, -1).sum(axis=2)
    n, total = of_segment[:, :, 0], np.ldexp(of_segment[:, :, 1].astype(np.float64), -exponent)
    everywhere = total.sum(axis=1, keepdims=True) / np.maximum(n.sum(axis=1, keepdims=True), 1)
    mean = np.where(n > 0, total / np.maximum(n, 1), everywhere)
    return mean, A.reshape(folds, S, K, d, d), b.reshape(folds, S, K, d)
