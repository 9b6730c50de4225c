"""The ridge posterior in which arms share what their features have in common: what the hybrid models stand on.

    y = xᵀ(Θ z_a + δ_a) + noise,   vec Θ ~ N(0, I/λ),   δ_a ~ N(0, I/μ)

with z_a = (1, the arm's features). Θ is what holds of arms that are like this one, δ_a what is this arm's own: a new
arm begins at Θ z_a. A large μ leaves the shared model alone, a large λ one regression per arm. (Li, Chu, Langford &
Schapire 2010, algorithm 2, is the case of λ = μ = 1.) With the exact A_a = Σxxᵀ and b_a = Σrx of each arm, and
φ = z ⊗ x, the blocks are eliminated arm by arm:

    M_a = (μI + A_a)⁻¹                        an arm's own covariance, given Θ
    P   = λI + Σ z_a z_aᵀ ⊗ (μI - μ² M_a)      precision of Θ: A_a - A_a M_a A_a
    h   = Σ z_a ⊗ μ M_a b_a                   vec Θ̂ = P⁻¹ h
    θ̂_a = M_a b_a + μ M_a Θ̂ z_a
    cov(xᵀθ_a, xᵀθ_c) = [a = c] xᵀM_a x + μ² (z_a ⊗ M_a x)ᵀ P⁻¹ (z_c ⊗ M_c x)

So it is a function of the same statistics as the model of one regression per arm, and other features of the arms need
no relearning. Candidates, that come with a request and are told by their features alone, have nothing of their own
(μ → ∞): what was learned of all of them is A_φ = Σφφᵀ and b_φ = Σrφ, which are added to P and h.

Invariant: as in `linear.py`, the same sums give the same bytes on every machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.models.grid import FEATURE_BITS, REWARD_LIMIT, Grid, reward_from_grid
from pipeline.models.model import Floats, Parameter, Posterior, Sums
from pipeline.models.regressions.linear import LinearPosterior, linear_posterior, measured_noise, solve
from pipeline.models.sums.weighted import CandidateSums, features_of

BLOCK_ROWS = 64
"""Of pairs of arms: 500 arms have 2 MB of them."""
MAX_SHARED = 256
"""Entries of vec Θ: as many as a context vector may have. (features + 1) times the context's dimension."""
RIDGE_SHARED = Parameter(1.0, 1e-6, 1e6, "λ: observations of each feature at 1 that the shared prior is worth")
# μI - μ² M cancels where μ is far above A: 1e4 leaves eleven digits to a single observation. The default suits arms
# whose features say most of what there is to know: at v = 0.25 what is an arm's own has a deviation of 0.25/√30 = 0.05.
RIDGE_OWN = Parameter(30.0, 1e-6, 1e4, "μ: observations after which an arm is half its own; large: all is shared")


class Scores(NamedTuple):
    """The joint distribution of the arms' xᵀθ_a in one context, without the noise's factor."""

    mean: Floats
    """(K,)."""
    own: Floats
    """(K,) xᵀM_a x: variance that is independent of all other arms."""
    weighted: Floats
    """(K, r): `directions` times the covariance of what they are directions in."""
    directions: Floats
    """(K, r)."""

    @property
    def shared(self) -> Floats:
        """(K, K) covariance by what is shared."""
        covariance: Floats = self.weighted @ self.directions.T
        return covariance


def hybrid_posterior(statistics: Sequence[Sums], grid: Grid, ridge_shared: float, ridge_own: float) -> Posterior:
    """Return theta (K, d), own (K, d, d), z (K, m) and noise (K,); shared: covariance (md, md) and mu ().

    Where sums of candidates are among the K + 1 rows, shared has theta (md,) and noise () for them beside.
    O(K (md)² + (md)³). Raises ValueError where the arms have features of several lengths.
    """
    of_candidates = [sums for sums in statistics if isinstance(sums, CandidateSums)]
    statistics = [sums for sums in statistics if not isinstance(sums, CandidateSums)]
    own = linear_posterior(statistics, grid, ridge_own)
    z = np.array([(1.0, *features_of(sums)) for sums in statistics])
    found = _combine(own, z, ridge_shared, ridge_own, [_moments(sums, grid) for sums in of_candidates])
    theta, shared = found.theta, found.shared
    return Posterior(
        {"theta": theta, "own": own.covariance, "z": z, "noise": measured_noise(statistics, grid, own)},
        {
            "covariance": shared.covariance[0],
            "mu": np.array(ridge_own),
            **_for_candidates(of_candidates, grid, shared.theta[0]),
        },
    )


class Eliminated(NamedTuple):
    """A hybrid regression, solved."""

    theta: Floats
    """(K, d)."""
    own: Floats
    """(K, d, d) M_a."""
    shared: LinearPosterior
    """Of vec Θ, alone."""


def eliminate(A: Floats, b: Floats, z: Floats, ridge_shared: float, ridge_own: float) -> Eliminated:
    """Solve the hybrid regression of arms with moments A (K, d, d), b (K, d) and features z (K, m)."""
    return _combine(solve(A + ridge_own * np.eye(A.shape[-1]), b, ridge_own), z, ridge_shared, ridge_own, ())


def _combine(
    own: LinearPosterior, z: Floats, ridge_shared: float, ridge_own: float, more: Sequence[tuple[Floats, Floats]]
) -> Eliminated:
    """Let arms share, given each one's regression by itself; `more` moments tell of Θ alone."""
    (K, d), m = own.theta.shape, z.shape[1]
    P = ridge_shared * np.eye(m * d)
    h = np.zeros(m * d)
    for a in range(K):
        P += np.kron(np.outer(z[a], z[a]), ridge_own * (np.eye(d) - ridge_own * own.covariance[a]))
        h += np.kron(z[a], ridge_own * own.theta[a])
    for A, b in more:
        P += A
        h += b
    shared = solve(P[None], h[None], ridge_shared)
    mean = np.zeros((K, d))  # Θ̂ z_a; sums in the order written, one after another
    for j in range(m):
        mean += z[:, j, None] * shared.theta[0, j * d : (j + 1) * d]
    theta = own.theta.copy()
    for i in range(d):
        theta += ridge_own * own.covariance[:, :, i] * mean[:, i, None]
    return Eliminated(theta, own.covariance, shared)


def join_candidates(posterior: Posterior, z: Floats, brought: NDArray[np.bool_]) -> Posterior:
    """Return the posterior of some arms with candidates among them, whose features are z (C, m - 1).

    Candidates stand where `brought` (K + C,) is true, in their order, and arms in theirs elsewhere; the array has_own
    tells them apart for whoever has only the posterior. Raises ValueError where it knows no candidates.
    """
    shared, arms = posterior.shared, posterior.parameters
    if "theta" not in shared:
        raise ValueError("the posterior was made for a policy without candidates")
    d = arms["theta"].shape[1]
    z = np.column_stack((np.ones(len(z)), z))
    added: Mapping[str, Floats | float] = {
        "theta": z @ shared["theta"].reshape(-1, d),
        # What of the shared part reaches a score: μ M = I.
        "own": np.eye(d) / shared["mu"],
        "z": z,
        "noise": float(shared["noise"]),
    }
    joined = {"has_own": np.where(brought, 0.0, 1.0)}
    for name, array in arms.items():
        joined[name] = np.empty((len(brought), *array.shape[1:]))
        joined[name][~brought] = array
        joined[name][brought] = added[name]
        joined[name].setflags(write=False)  # so that a posterior keeps it as it is
    return Posterior(joined, shared)


def _moments(sums: CandidateSums, grid: Grid) -> tuple[Floats, Floats]:
    A, b = sums.moments()
    return np.ldexp(A, -2 * FEATURE_BITS), np.ldexp(b, -FEATURE_BITS - grid.reward_exponent)


def _for_candidates(of_candidates: Sequence[CandidateSums], grid: Grid, theta: Floats) -> dict[str, Floats]:
    """Return vec Θ̂, and the standard deviation of a reward around φᵀ vec Θ̂, measured as `measured_noise` does."""
    if not of_candidates:
        return {}
    (sums,) = of_candidates
    A, b = _moments(sums, grid)
    left = 0.0  # Σ(r - φᵀθ)² = Σr² - 2 bᵀθ + θᵀAθ
    for i in range(len(theta)):
        predicted = 0.0
        for product in (A[i] * theta).tolist():
            predicted += product
        left += float(theta[i]) * (predicted - 2.0 * float(b[i]))
    left += reward_from_grid(sums.reward_square_sum, 2 * grid.reward_exponent)
    widest = reward_from_grid(REWARD_LIMIT, grid.reward_exponent) ** 2
    return {"theta": theta, "noise": np.sqrt((max(left, 0.0) + widest) / np.array(sums.n + 1.0))}


def scores(posterior: Posterior, context: Floats | None) -> Scores:
    """Return how the arms' scores are distributed; O(K d² + K (md)² + K² md). Raises ValueError without context."""
    theta, own, z = (posterior.parameters[name] for name in ("theta", "own", "z"))
    if context is None or context.shape != theta.shape[1:]:
        seen = None if context is None else context.shape
        raise ValueError(f"a hybrid model needs a context vector of shape {theta.shape[1:]}: seen {seen}")
    reached = own @ context  # (K, d)
    variance = np.maximum(reached @ context, 0.0) * posterior.parameters.get("has_own", 1.0)
    return Scores(theta @ context, variance, *_shared(posterior, z, reached, context))


def _shared(posterior: Posterior, z: Floats, reached: Floats, context: Floats) -> tuple[Floats, Floats]:
    """Return D S and D, whose product D S Dᵀ is the covariance by what is shared; row a of D is μ z_a ⊗ M_a x.

    Of a candidate that row is z_a ⊗ x. So all rows lie in what those of the k arms and the m of I ⊗ x span, and where
    that is less than md dimensions, rows and S are given in these.
    """
    covariance, has_own = posterior.shared["covariance"], posterior.parameters.get("has_own")
    (K, m), d = z.shape, len(context)
    directions = float(posterior.shared["mu"]) * (z[:, :, None] * reached[:, None, :]).reshape(K, m * d)
    if has_own is None or (k := int(has_own.sum())) + m >= m * d:
        return directions @ covariance, directions
    spanning = np.concatenate((directions[has_own > 0.0], np.kron(np.eye(m), context)))
    narrow = np.zeros((K, k + m))
    narrow[has_own > 0.0, :k] = np.eye(k)
    narrow[has_own == 0.0, k:] = z[has_own == 0.0]
    return narrow @ (spanning @ covariance @ spanning.T), narrow


def deviations(found: Scores) -> Floats:
    """Return the standard deviation of each arm's score, (K,)."""
    total: Floats = np.sqrt(found.own + np.maximum(shared_variance(found), 0.0))
    return total


def shared_variance(found: Scores) -> Floats:
    """Return the diagonal of `found.shared`, (K,)."""
    variance: Floats = np.einsum("ar,ar->a", found.weighted, found.directions)
    return variance


def least_covariance(found: Scores) -> float:
    """Return the least entry of `found.shared` beside its diagonal, a block of rows at a time; of one arm 0."""
    K, least = len(found.mean), np.inf
    for start in range(0, K if K > 1 else 0, BLOCK_ROWS):
        # It is symmetric: what stands to the left of a block's own columns was seen above it.
        pairs = found.weighted[start : start + BLOCK_ROWS] @ found.directions[start:].T
        pairs.reshape(-1)[:: K - start + 1] = np.inf
        least = min(least, float(pairs.min()))
    return least if K > 1 else 0.0
