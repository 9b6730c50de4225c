from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import brentq, minimize
from scipy.special import expit

from pipeline.models.regressions.logistic import chance, laplace

Floats = np.ndarray


def counts(m: int, d: int, seed: int = 1) -> tuple[Floats, Floats, Floats]:
    rng = np.random.default_rng(seed)
    X = rng.integers(-4, 5, (m, d)) / 4.0
    X[:, 0] = 1.0
    n = rng.integers(1, 50, m)
    successes = rng.binomial(n, expit(X @ rng.normal(size=d) - 2.0))
    return X, successes.astype(np.float64), (n - successes).astype(np.float64)


def independent_mode(X: Floats, s: Floats, f: Floats, ridge: float) -> tuple[Floats, Floats]:
    """Let scipy climb the log posterior by trust regions, with its own logarithms; return where, and the curvature."""

    def loss(theta: Floats) -> float:
        odds = X @ theta
        return float(s @ np.logaddexp(0.0, -odds) + f @ np.logaddexp(0.0, odds) + 0.5 * ridge * theta @ theta)

    def gradient(theta: Floats) -> Floats:
        odds = X @ theta
        return X.T @ (f * expit(odds) - s * expit(-odds)) + ridge * theta

    def hessian(theta: Floats) -> Floats:
        odds = X @ theta
        return (X.T * ((s + f) * expit(odds) * expit(-odds))) @ X + ridge * np.eye(X.shape[1])

    options = {"gtol": 1e-12, "maxiter": 500}
    found = minimize(loss, np.zeros(X.shape[1]), jac=gradient, hess=hessian, method="trust-exact", options=options).x
    # The loss has no more digits than 16, so its lowest point is known to 8 of them: one more step of the gradient's.
    for _ in range(2):
        found = found - np.linalg.solve(hessian(found), gradient(found))
    return found, hessian(found)


@pytest.mark.parametrize("ridge", [1e-3, 1.0, 50.0])
@pytest.mark.parametrize(("m", "d"), [(1, 1), (3, 7), (40, 4), (5_000, 6)])  # more than a block of rows, too
def test_the_mode_and_its_covariance_are_those_that_scipy_finds(m: int, d: int, ridge: float) -> None:
    X, s, f = counts(m, d)
    mode = laplace(X, s, f, ridge)
    theta, H = independent_mode(X, s, f, ridge)
    np.testing.assert_allclose(mode.theta, theta, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(mode.covariance @ H, np.eye(d), atol=1e-9)
    assert (mode.covariance == mode.covariance.T).all()


@pytest.mark.parametrize(("s", "f"), [(2.0**33, 0.0), (0.0, 2.0**33), (1.0, 2.0**33), (2.0**33, 1e9), (1e-90, 1e-90)])
def test_counts_far_from_ordinary_have_the_mode_that_one_equation_says(s: float, f: float) -> None:
    # All decisions had x = (1, 1, 1, 1, 1): every coefficient is t, where s (1 - p) - f p = λ t and p that of 5 t.
    mode = laplace(np.ones((1, 5)), np.array([s]), np.array([f]), 1.0)
    t = brentq(lambda t: s * expit(-5.0 * t) - f * expit(5.0 * t) - t, -50.0, 50.0, xtol=1e-15, rtol=1e-14)
    np.testing.assert_allclose(mode.theta, t, rtol=1e-9, atol=1e-80)


def test_where_one_side_always_succeeds_steps_do_not_run_away() -> None:
    # The likelihood alone has no mode: it rises without end. A weak prior bends it far out.
    X = np.array([[1.0, 7.0], [1.0, -7.0]])
    mode = laplace(X, np.array([1e6, 0.0]), np.array([0.0, 1e6]), 1e-6)
    theta, _ = independent_mode(X, np.array([1e6, 0.0]), np.array([0.0, 1e6]), 1e-6)
    np.testing.assert_allclose(mode.theta, theta, rtol=1e-9, atol=1e-9)


def test_nothing_known_is_the_prior() -> None:
    mode = laplace(np.zeros((0, 3)), np.zeros(0), np.zeros(0), 4.0)
    assert mode.theta.tolist() == [0.0, 0.0, 0.0]
    assert mode.covariance.tolist() == (np.eye(3) / 4.0).tolist()


def test_a_context_that_is_split_says_what_it_said_whole() -> None:
    X, s, f = counts(40, 4)
    half = laplace(np.concatenate((X, X)), np.concatenate((s, s)) / 2.0, np.concatenate((f, f)) / 2.0, 1.0)
    np.testing.assert_allclose(half.theta, laplace(X, s, f, 1.0).theta, rtol=1e-12, atol=1e-13)


def test_chances_keep_their_digits_at_either_end() -> None:
    odds = np.concatenate((np.linspace(-699.0, 699.0, 20_001), [0.0, 1e-300, -1e9, 1e9]))
    np.testing.assert_allclose(chance(odds[:-2]), expit(odds[:-2]), rtol=1e-15)
    assert chance(odds[-2:]).tolist() == pytest.approx([0.0, 1.0], abs=1e-300)
