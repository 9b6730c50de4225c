"""Logistic regression in which arms share what their features have in common, from counts by context.

    log-odds = xᵀ(Θ z_a + δ_a),   vec Θ ~ N(0, I/λ),   δ_a ~ N(0, I/μ)

as `hybrid.py` has it for rewards on a line, and Laplace's approximation at the mode, as `logistic.py` has it for an arm
alone. A step of Newton's is a hybrid regression: with p of each context at the θ_a = Θ z_a + δ_a so far,

    A_a = Σ n p (1 - p) x xᵀ        b_a = A_a θ_a + Σ (s (1 - p) - (n - s) p) x

its solution is where the step leads (iteratively reweighted least squares), and the blocks are eliminated arm by arm.
A step is halved while the slope at its end leads steeply down, since what is climbed is concave.

Invariant: the same counts in the same order give the same bytes on every machine, as in what it stands on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pipeline.errors import StateError
from pipeline.models.grid import Grid
from pipeline.models.model import Floats, Parameter, Posterior, Sums
from pipeline.models.regressions.hybrid import eliminate
from pipeline.models.regressions.logistic import curvature, slope
from pipeline.models.sums.contexts import ContextSums
from pipeline.models.sums.weighted import features_of

# A deviation of 1/√3 of each coefficient, in log-odds, may be an arm's own.
RIDGE_OWN = Parameter(3.0, 1e-6, 1e4, "μ: the inverse variance of what is an arm's own, in log-odds")
_STEPS = 60
_HALVINGS = 40
_CLOSE = 2.0**-40
"""Of a step, as a part of the coefficients' size: beyond it rounding is all that moves."""


class _Arm(NamedTuple):
    """What is known of one arm."""

    contexts: Floats
    successes: Floats
    failures: Floats


class _Place(NamedTuple):
    """Coefficients: where the climb has come to, or a step of it."""

    shared: Floats
    """(m, d) Θ, transposed."""
    own: Floats
    """(K, d) δ."""

    def moved(self, step: _Place, share: float) -> _Place:
        return _Place(self.shared + share * step.shared, self.own + share * step.own)

    def theta(self, z: Floats) -> Floats:
        """Return Θ z_a + δ_a, (K, d); sums in the order written."""
        theta = self.own.copy()
        for j in range(z.shape[1]):
            theta += z[:, j, None] * self.shared[j]
        return theta


def logistic_hybrid_posterior(
    name: str, statistics: Sequence[Sums], grid: Grid, ridge_shared: float, ridge_own: float
) -> Posterior:
    """Return theta (K, d), own (K, d, d), z (K, m); shared: covariance (md, md), mu (): what `hybrid.scores` reads.

    In log-odds. O(K M d² + (md)³) a step, of about ten, for M distinct contexts an arm. Raises StateError where
    decisions were not counted by context; `name` says who wants that.
    """
    arms, z = _read(name, statistics, grid)
    d, m = arms[0].contexts.shape[1], z.shape[1]
    at = _Place(np.zeros((m, d)), np.zeros((len(arms), d)))
    for _ in range(_STEPS):
        theta = at.theta(z)
        A, gradient = _moments(arms, theta)
        ahead = eliminate(A, _times(A, theta) + gradient, z, ridge_shared, ridge_own)
        shared = ahead.shared.theta[0].reshape(m, d)
        aim = _Place(shared, ahead.theta - _Place(shared, np.zeros_like(theta)).theta(z))
        step = _Place(aim.shared - at.shared, aim.own - at.own)
        at = at.moved(step, _damped(arms, z, at, step, (ridge_shared, ridge_own)))
        size = max(float(np.abs(at.shared).max()), float(np.abs(at.own).max()))
        if max(float(np.abs(step.shared).max()), float(np.abs(step.own).max())) <= _CLOSE * (1.0 + size):
            break
    theta = at.theta(z)
    A, _ = _moments(arms, theta)
    there = eliminate(A, np.zeros_like(theta), z, ridge_shared, ridge_own)
    return Posterior(
        {"theta": theta, "own": there.own, "z": z},
        {"covariance": there.shared.covariance[0], "mu": np.array(ridge_own)},
    )


def _read(name: str, statistics: Sequence[Sums], grid: Grid) -> tuple[list[_Arm], Floats]:
    arms, features = [], []
    for sums in statistics:
        if not isinstance(sums, ContextSums):
            raise StateError(f"{name} wants decisions counted by context, seen sums of {sums.n} decisions")
        successes = np.ldexp(sums.rewards, -grid.reward_exponent)
        failures = np.maximum(sums.counts - successes, 0.0)  # all but 0 by rounding, where decisions fade
        arms.append(_Arm(sums.contexts, successes, failures))
        features.append((1.0, *features_of(sums.sums)))
    return arms, np.array(features)


def _moments(arms: Sequence[_Arm], theta: Floats) -> tuple[Floats, Floats]:
    """Return the likelihood's curvature and slope of each arm: (K, d, d), (K, d)."""
    pairs = list(zip(arms, theta, strict=True))
    A = np.stack([curvature(arm.contexts, arm.successes + arm.failures, own, 0.0) for arm, own in pairs])
    return A, np.stack([slope(*arm, own, 0.0) for arm, own in pairs])


def _times(A: Floats, theta: Floats) -> Floats:
    """Return A_a θ_a of each arm; sums in the order written."""
    product = np.zeros_like(theta)
    for i in range(theta.shape[1]):
        product += A[:, :, i] * theta[:, i, None]
    return product


def _damped(arms: Sequence[_Arm], z: Floats, at: _Place, step: _Place, ridges: tuple[float, float]) -> float:
    """Return how much of a step to take."""
    rise = _climb(arms, z, at, step, ridges)
    share = 1.0
    for _ in range(_HALVINGS):
        if _climb(arms, z, at.moved(step, share), step, ridges) >= -0.5 * rise:
            break
        share /= 2.0
    return share


def _climb(arms: Sequence[_Arm], z: Floats, at: _Place, step: _Place, ridges: tuple[float, float]) -> float:
    """Return by how much the posterior's logarithm rises along a step, at a place."""
    theta, direction = at.theta(z), step.theta(z)
    terms = [slope(*arm, own, 0.0) * way for arm, own, way in zip(arms, theta, direction, strict=True)]
    terms += [-ridges[0] * at.shared * step.shared, -ridges[1] * at.own * step.own]
    total = 0.0
    for term in terms:
        for value in term.ravel().tolist():
            total += value
    return total
