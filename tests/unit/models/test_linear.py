from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from pipeline.errors import StateError
from pipeline.models.grid import Grid
from pipeline.models.model import Posterior
from pipeline.models.regressions.linear import linear_posterior, predict
from pipeline.models.sums.statistics import Statistics, contributions

ONE = 2**12  # a feature of 1 on the grid
EXPONENT = 6
UNIT = 2**EXPONENT  # a reward of 1 on the grid


def learnt(X: np.ndarray, rewards: np.ndarray) -> Statistics:
    return Statistics(X.shape[1], contributions(X.astype(np.int16), rewards))


def random_rows(rng: np.random.Generator, m: int, d: int) -> tuple[np.ndarray, np.ndarray]:
    return rng.integers(-ONE, ONE + 1, (m, d)), rng.integers(-400 * UNIT, 400 * UNIT, m)


def test_one_feature_can_be_worked_out_by_hand():
    # x = 2, r = 3 twice, λ = 1:  A_post = 1 + 8 = 9,  b = 12,  θ = 12/9,  A_post⁻¹ = 1/9,  bθ = 16
    twice = learnt(np.array([[2 * ONE], [2 * ONE]]), np.array([3 * UNIT, 3 * UNIT]))
    theta, covariance, explained, _ = linear_posterior([twice], Grid(EXPONENT), ridge=1.0)
    assert theta[0, 0] == pytest.approx(12 / 9, rel=1e-14)
    assert covariance[0, 0, 0] == pytest.approx(1 / 9, rel=1e-14)
    assert explained[0] == pytest.approx(16, rel=1e-14)


@pytest.mark.parametrize("d", [1, 2, 16, 40])
@pytest.mark.parametrize("ridge", [0.01, 1.0, 50.0])
def test_it_agrees_with_a_general_solver(d, ridge):
    rng = np.random.default_rng(d)
    arms = [random_rows(rng, m, d) for m in (0, 1, 3, 500)]
    theta, covariance, explained, roots = linear_posterior([learnt(*arm) for arm in arms], Grid(EXPONENT), ridge)
    for k, (X, r) in enumerate(arms):
        x, reward = X / ONE, r / UNIT
        A = ridge * np.eye(d) + x.T @ x
        np.testing.assert_allclose(theta[k], np.linalg.solve(A, x.T @ reward), rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(covariance[k], np.linalg.solve(A, np.eye(d)), rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(explained[k], x.T @ reward @ np.linalg.solve(A, x.T @ reward), rtol=1e-9)
        np.testing.assert_allclose(2.0 * np.log(roots[k]).sum(), np.linalg.slogdet(A)[1], rtol=1e-9, atol=1e-12)


def test_an_arm_without_decisions_has_the_prior():
    theta, covariance, explained, _ = linear_posterior([Statistics.zero(3)], Grid(EXPONENT), ridge=4.0)
    assert theta.tolist() == [[0.0, 0.0, 0.0]]
    assert covariance.tolist() == [(np.eye(3) / 4).tolist()]
    assert explained.tolist() == [0.0]


def test_covariances_are_exactly_symmetric():
    rng = np.random.default_rng(5)
    covariance = linear_posterior([learnt(*random_rows(rng, 100, 16))], Grid(EXPONENT), 1.0).covariance
    assert np.array_equal(covariance, covariance.transpose(0, 2, 1))


def test_an_arm_does_not_depend_on_the_arms_beside_it():
    rng = np.random.default_rng(6)
    arms = [learnt(*random_rows(rng, 50, 8)) for _ in range(5)]
    together = linear_posterior(arms, Grid(EXPONENT), 1.0)
    for k, arm in enumerate(arms):
        alone = linear_posterior([arm], Grid(EXPONENT), 1.0)
        assert together.theta[k].tobytes() == alone.theta[0].tobytes()
        assert together.covariance[k].tobytes() == alone.covariance[0].tobytes()


POSTERIOR_IN_HEX = """
import numpy as np
from pipeline.models.grid import Grid
from pipeline.models.regressions.linear import linear_posterior
from pipeline.models.sums.statistics import Statistics, contributions
rng = np.random.default_rng(8)
X = rng.integers(-4096, 4097, (500, 16)).astype(np.int16)
posterior = linear_posterior([Statistics(16, contributions(X, rng.integers(0, 2**15, 500)))], Grid(15), 1.0)
print(b"".join(array.tobytes() for array in posterior).hex())
"""


def test_other_processors_derive_the_same_bytes():
    # OpenBLAS can be told to use the kernels of an old processor; with LAPACK's inverse the bytes would differ.
    def derived(**environment: str) -> bytes:
        command = [sys.executable, "-c", POSTERIOR_IN_HEX]
        return subprocess.run(command, env=os.environ | environment, capture_output=True, check=True).stdout

    assert derived() == derived(OPENBLAS_CORETYPE="Prescott")


def test_billions_of_decisions_with_the_same_features_leave_a_posterior():
    # Two equal features make A singular but for λ, which beside 2**32 * 64 is all but rounded away.
    sums = contributions(np.full((1, 2), 32767, np.int16), [UNIT]) * 2**32
    theta, covariance, *_ = linear_posterior([Statistics(2, sums)], Grid(EXPONENT), ridge=1e-6)
    assert np.isfinite(theta).all()
    assert (np.diagonal(covariance[0]) > 0).all()
    x = 32767 / ONE
    assert theta[0] @ [x, x] == pytest.approx(1.0, rel=1e-3)


def test_negative_counts_are_refused():
    with pytest.raises(StateError, match="fewer than no decisions"):
        linear_posterior([Statistics.zero(1) - learnt(np.array([[1]]), np.array([1]))], Grid(EXPONENT), 1.0)


def test_a_prediction_is_the_mean_and_the_width_in_one_context():
    # θᵀx = 1*3 + 2*4 = 11;  xᵀ diag(1, 4) x = 9 + 64 = 73
    posterior = Posterior({"theta": np.array([[1.0, 2.0]]), "covariance": np.array([[[1.0, 0.0], [0.0, 4.0]]])})
    mean, width = predict(posterior, np.array([3.0, 4.0]))
    assert mean.tolist() == [11.0]
    assert width.tolist() == [pytest.approx(np.sqrt(73))]


@pytest.mark.parametrize("context", [None, np.zeros(3), np.zeros((1, 2))])
def test_a_context_of_another_shape_is_refused(context):
    posterior = Posterior({"theta": np.zeros((1, 2)), "covariance": np.zeros((1, 2, 2))})
    with pytest.raises(ValueError, match=r"context vector of shape \(2,\)"):
        predict(posterior, context)
