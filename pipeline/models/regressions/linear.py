"""The ridge posterior that the linear models share, one independent regression per arm.

    A_post = λ I + A,   θ = A_post⁻¹ b,   covariance = A_post⁻¹

(Li, Chu, Langford & Schapire 2010, algorithm 1; Agrawal & Goyal 2013, section 2.2), by Cholesky's factorisation
of all arms at once.

Invariant: the same sums give the same bytes on every machine, which content-addressed snapshots need. LAPACK and
BLAS choose their order of summation by processor; here every number comes of elementwise + - * / and square root,
which IEEE 754 rounds in one way only, in the order written.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pipeline.errors import StateError
from pipeline.models.grid import FEATURE_BITS, REWARD_LIMIT, Grid, reward_from_grid
from pipeline.models.model import Floats, Parameter, Posterior, Sums

RIDGE = Parameter(1.0, 1e-6, 1e6, "observations of each feature at 1 that the prior is worth")


class LinearPosterior(NamedTuple):
    """K regressions on d features."""

    theta: Floats
    """(K, d) coefficients, reward units per feature unit."""
    covariance: Floats
    """(K, d, d) A_post⁻¹, exactly symmetric; times the noise's variance it is the covariance of θ."""
    explained: Floats
    """(K,) bᵀθ, the part of Σr² that the regression explains, in reward units squared."""
    roots: Floats
    """(K, d) the diagonal of L, A_post = L Lᵀ: the product of its squares is A_post's determinant."""


def linear_posterior(statistics: Sequence[Sums], grid: Grid, ridge: float) -> LinearPosterior:
    """Derive θ and A_post⁻¹ of each arm; O(K d³). Raises StateError where an arm has n < 0."""
    if any(sums.n < 0 for sums in statistics):
        raise StateError(f"statistics of fewer than no decisions: n = {[sums.n for sums in statistics]}")
    moments = [sums.moments() for sums in statistics]
    A = np.ldexp(np.stack([A for A, _ in moments]).astype(np.float64), -2 * FEATURE_BITS)
    b = np.ldexp(np.stack([b for _, b in moments]).astype(np.float64), -FEATURE_BITS - grid.reward_exponent)
    return solve(A + ridge * np.eye(A.shape[-1]), b, ridge)


def measured_noise(statistics: Sequence[Sums], grid: Grid, derived: LinearPosterior) -> Floats:
    """Return the standard deviation of a reward around its prediction, (K,), in reward units.

    It is what variance the regression leaves unexplained, and one pseudo-observation of the largest variance that
    rewards on this grid can have, so that an arm that has seen little is never thought certain.
    """
    squares = [reward_from_grid(sums.reward_square_sum, 2 * grid.reward_exponent) for sums in statistics]
    unexplained = np.maximum(np.array(squares) - derived.explained, 0.0)
    widest = reward_from_grid(REWARD_LIMIT, grid.reward_exponent) ** 2
    noise: Floats = np.sqrt((unexplained + widest) / (np.array([float(sums.n) for sums in statistics]) + 1.0))
    return noise


def predict(posterior: Posterior, context: Floats | None) -> tuple[Floats, Floats]:
    """Return θᵀx and sqrt(xᵀ A_post⁻¹ x) of each arm, (K,) each; O(K d²). Raises ValueError without context."""
    theta, covariance = posterior.parameters["theta"], posterior.parameters["covariance"]
    if context is None or context.shape != theta.shape[1:]:
        shape = None if context is None else context.shape
        raise ValueError(f"a linear model needs a context vector of shape {theta.shape[1:]}: seen {shape}")
    used = covariance.shape[1]
    seen = context if used == len(context) else context[:used]  # of entries that are left out θ is 0
    # One product of a (K d, d) matrix is sooner done than K products of (d, d) ones.
    variance = (covariance.reshape(-1, used) @ seen).reshape(-1, used) @ seen
    return theta @ context, np.sqrt(np.maximum(variance, 0.0))


def solve(A: Floats, b: Floats, ridge: float) -> LinearPosterior:
    """Solve A θ = b for K matrices A, λI plus something positive semidefinite each: (K, d, d), (K, d).

    Eliminates in [A | b | I] = [L Lᵀ | b | I] until it reads [Lᵀ | L⁻¹ b | L⁻¹].
    """
    K, d = b.shape
    table = np.concatenate((A, b[:, :, None], np.broadcast_to(np.eye(d), (K, d, d))), axis=2)
    for k in range(d):
        filled = slice(k, d + k + 2)  # left of it Lᵀ is done; right of it this row of L⁻¹ is 0
        # Every pivot of λI plus a positive semidefinite matrix is at least λ: less is rounding.
        table[:, k, filled] /= np.sqrt(np.maximum(table[:, k, k], ridge))[:, None]
        table[:, k + 1 :, filled] -= table[:, k, k + 1 : d, None] * table[:, k, None, filled]
    y, inverse = table[:, :, d], table[:, :, d + 1 :]
    theta, covariance, explained = np.zeros((K, d)), np.zeros((K, d, d)), np.zeros(K)
    for k in range(d):
        row = inverse[:, k, : k + 1]
        theta[:, : k + 1] += row * y[:, k, None]  # θ = L⁻ᵀ (L⁻¹ b)
        covariance[:, : k + 1, : k + 1] += row[:, :, None] * row[:, None, :]  # A⁻¹ = L⁻ᵀ L⁻¹
        explained += y[:, k] * y[:, k]  # bᵀ A⁻¹ b = |L⁻¹ b|²
    return LinearPosterior(theta, covariance, explained, np.diagonal(table, axis1=1, axis2=2).copy())
