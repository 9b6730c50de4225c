from __future__ import annotations

import numpy as np
import pytest

from pipeline.models.algorithms.lin_ucb import LinUcb
from pipeline.models.grid import Grid
from pipeline.models.model import Posterior
from pipeline.models.sums.statistics import Statistics, contributions


def arms(theta: list[float], variance: list[float]) -> Posterior:
    return Posterior(
        {
            "theta": np.array(theta)[:, None],
            "covariance": np.array(variance)[:, None, None],
            "noise": np.full(len(theta), 0.5),
        }
    )


def test_the_arm_with_the_largest_bound_is_certain():
    # Bounds at alpha = 1: 1 + 1 = 2, 0.5 + 2 = 2.5, 2 + 0.1 = 2.1; at alpha = 0 the mean decides.
    three = arms([1.0, 0.5, 2.0], [1.0, 4.0, 0.01])
    assert LinUcb(ridge=1.0, alpha=1.0).probabilities(three, np.ones(1)).tolist() == [0.0, 1.0, 0.0]
    assert LinUcb(ridge=1.0, alpha=0.0).probabilities(three, np.ones(1)).tolist() == [0.0, 0.0, 1.0]


def test_exact_ties_share_equally():
    tied = arms([1.0, 0.0, 1.0, 1.0], [1.0] * 4)
    shares = LinUcb(ridge=1.0, alpha=1.0).probabilities(tied, np.ones(1))
    assert shares.tolist() == [1 / 3, 0.0, 1 / 3, 1 / 3]


def test_the_interval_is_the_mean_and_two_standard_errors_of_the_noise():
    mean, low, high = LinUcb(ridge=1.0, alpha=9.0).estimates(arms([1.0], [4.0]), np.ones(1))
    # 1 ± 1.959964 * 0.5 * 2
    assert mean.tolist() == [1.0]
    assert low[0] == pytest.approx(-0.959964, abs=1e-6)
    assert high[0] == pytest.approx(2.959964, abs=1e-6)


def test_noise_is_what_the_regression_leaves_and_one_observation_of_the_widest():
    # x = 1, rewards 0 and 1 on a grid up to 1, λ = 1:  A_post = 3, b = 1, bθ = 1/3, Σr² = 1.
    # (1 - 1/3 + 1²) / (2 + 1) = 5/9
    X = np.full((2, 1), 2**12, np.int16)
    posterior = LinUcb(ridge=1.0, alpha=1.0).posterior([Statistics(1, contributions(X, [0, 2**15]))], Grid(15))
    assert posterior.parameters["noise"].tolist() == [pytest.approx(np.sqrt(5 / 9), rel=1e-12)]


def test_noise_comes_to_the_residual_deviation_in_reward_units():
    # Rewards are 3x + noise of deviation 2; the standard error of a deviation from 20,000 is 2/sqrt(40,000) = 0.01.
    rng = np.random.default_rng(7)
    x = rng.integers(-(2**12), 2**12, (20_000, 1)).astype(np.int16)
    rewards = np.rint((3 * x[:, 0] / 2**12 + 2 * rng.normal(size=20_000)) * 2**10).astype(np.int64)
    posterior = LinUcb(ridge=1.0, alpha=1.0).posterior([Statistics(1, contributions(x, rewards))], Grid(10))
    assert posterior.parameters["noise"][0] == pytest.approx(2.0, abs=0.05)
    assert posterior.parameters["theta"][0, 0] == pytest.approx(3.0, abs=5 * 2 / np.sqrt(20_000 / 3))
