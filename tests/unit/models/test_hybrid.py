"""The hybrid posterior against one regression on all features at once."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.models import model_for
from pipeline.models.algorithms.hybrid_thompson import particular
from pipeline.models.grid import Grid
from pipeline.models.model import Posterior, Sums
from pipeline.models.regressions.hybrid import deviations, hybrid_posterior, scores
from pipeline.models.sums.statistics import Statistics, contributions
from pipeline.models.sums.weighted import weigh

K, D = 4, 3
GRID = Grid(12)
Z = [(0.5, -1.0), (2.0, 0.25), (0.0, 1.0), (-1.0, 0.5)]
ROWS = [200, 30, 1, 0]  # the last arm is new


def traffic() -> tuple[list[np.ndarray], list[np.ndarray]]:
    rng = np.random.default_rng(31)
    X = [rng.integers(-(2**12), 2**12 + 1, (m, D)).astype(np.int16) for m in ROWS]
    for contexts in X:
        contexts[:, 0] = 2**12
    return X, [rng.integers(-(2**12), 2**13, m) for m in ROWS]


def statistics(features: list[tuple[float, ...]]) -> list[Sums]:
    X, r = traffic()
    rows = [Statistics(D, contributions(*pair)) for pair in zip(X, r, strict=True)]
    return [weigh([(1.0, row)], D, GRID.reward_exponent, None, z) for row, z in zip(rows, features, strict=True)]


def dense(features: list[tuple[float, ...]], shared: float, own: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Solve for (vec Θ, δ_1 .. δ_K) at once; return the mean, the covariance, and the map from it to θ of each arm."""
    X, r = traffic()
    m = 1 + len(features[0])
    precision = np.diag([shared] * (m * D) + [own] * (K * D)).astype(float)
    target = np.zeros(len(precision))
    to_theta = np.zeros((K, D, len(precision)))
    for a in range(K):
        z = np.array([1.0, *features[a]])
        to_theta[a] = np.hstack((np.kron(z, np.eye(D)), np.kron(np.eye(K)[a], np.eye(D))))
        phi = (X[a] / 2**12) @ to_theta[a]
        precision += phi.T @ phi
        target += phi.T @ (r[a] / 2**12)
    covariance = np.linalg.inv(precision)
    return covariance @ target, covariance, to_theta


@pytest.mark.parametrize(("shared", "own"), [(1.0, 1.0), (0.01, 30.0), (1e4, 0.5), (1.0, 1e4)])
@pytest.mark.parametrize("features", [Z, [()] * K])
def test_it_is_the_regression_on_shared_and_own_features_together(features, shared, own):
    posterior = hybrid_posterior(statistics(features), GRID, shared, own)
    mean, covariance, to_theta = dense(features, shared, own)
    np.testing.assert_allclose(posterior.parameters["theta"], to_theta @ mean, rtol=1e-9, atol=1e-11)
    for context in (np.array([1.0, 0.3, -0.8]), np.array([1.0, -1.0, 1.0])):
        found = scores(posterior, context)
        map_to_scores = context @ to_theta  # (K, all)
        expected = map_to_scores @ covariance @ map_to_scores.T
        np.testing.assert_allclose(np.diag(found.own) + found.shared, expected, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(deviations(found), np.sqrt(expected.diagonal()), rtol=1e-9)


def test_a_new_arm_begins_at_what_arms_like_it_have_earned():
    # Arms of a feature z earn z; the new arm has z = 1 and nobody has tried it.
    X = np.full((2000, 1), 2**12, np.int16)
    z = [-1.0, -0.5, 0.0, 0.5, 1.0]
    rows = [Statistics(1, contributions(X, np.full(2000, round(value * 2**12)))) for value in z[:-1]]
    known = [weigh([(1.0, row)], 1, 12, None, (value,)) for row, value in zip(rows, z, strict=False)]
    new = weigh([], 1, 12, None, (1.0,))
    for name in ("hybrid_ucb", "hybrid_thompson"):
        model = model_for(name, {"ridge_shared": 1e-3, "ridge_own": 100.0})
        assert model.estimates(model.posterior([*known, new], Grid(12)), np.ones(1)).mean[-1] == pytest.approx(
            1, abs=0.01
        )


def test_a_large_own_ridge_leaves_the_shared_model_alone():
    posterior = hybrid_posterior(statistics(Z), GRID, 1.0, 1e4)
    own = scores(posterior, np.array([1.0, 0.3, -0.8])).own
    assert own.max() <= 2.0 / 1e4


def test_what_is_unsure_of_all_arms_alike_moves_no_ranking():
    # Without features the shared part is one Θ, and untried arms differ by their own part alone: 1/μ each.
    untried = [Statistics.zero(D)] * K
    found = scores(hybrid_posterior(untried, GRID, 1e-4, 4.0), np.array([1.0, 0.0, 0.0]))
    np.testing.assert_allclose(found.shared, 1e4, rtol=1e-12)
    np.testing.assert_allclose(particular(found), 0.25, rtol=1e-9)


def test_no_difference_between_two_arms_is_thought_surer_than_it_is():
    context = np.array([1.0, 0.5, -0.5])
    for features in (Z, [()] * K):
        for own in (0.5, 30.0):
            found = scores(hybrid_posterior(statistics(features), GRID, 0.1, own), context)
            C = np.diag(found.own) + found.shared
            variance = particular(found)
            for a in range(K):
                for b in range(a):
                    assert variance[a] + variance[b] >= (C[a, a] + C[b, b] - 2 * C[a, b]) * (1 - 1e-9)


def test_thompson_shares_are_those_of_the_joint_distribution_where_arms_share_alike():
    # Two untried arms and equal priors, one moved by hand: Φ(Δ / sqrt(var of the difference)), by simulation.
    model = model_for("hybrid_thompson", {"v": 0.7, "ridge_own": 4.0})
    posterior = model.posterior([Statistics.zero(D)] * 3, GRID)
    theta = np.array([[0.1, 0.0, 0.0], [0.0, 0.0, 0.0], [-0.2, 0.0, 0.0]])
    moved = Posterior({**posterior.parameters, "theta": theta}, posterior.shared)
    context = np.array([1.0, 0.5, -0.5])
    found = scores(moved, context)
    joint = np.diag(found.own) + found.shared
    draws = np.random.default_rng(5).multivariate_normal(found.mean, 0.7**2 * joint, 200_000)
    share = np.bincount(draws.argmax(axis=1)) / len(draws)
    weights = model.probabilities(moved, context)
    assert (np.abs(share - weights) < 5 * np.sqrt(weights * (1 - weights) / len(draws))).all()


def test_ucb_goes_by_mean_and_deviation():
    posterior = hybrid_posterior(statistics(Z), GRID, 1.0, 1.0)
    context = np.array([1.0, 0.3, -0.8])
    found = scores(posterior, context)
    for alpha in (0.0, 5.0):
        weights = model_for("hybrid_ucb", {"alpha": alpha}).probabilities(posterior, context)
        assert weights.argmax() == (found.mean + alpha * deviations(found)).argmax()
        assert weights.max() == 1.0


@pytest.mark.parametrize("context", [None, np.ones(D + 1)])
def test_a_context_of_another_length_is_refused(context):
    with pytest.raises(ValueError, match="needs a context vector of shape"):
        scores(hybrid_posterior(statistics(Z), GRID, 1.0, 1.0), context)
