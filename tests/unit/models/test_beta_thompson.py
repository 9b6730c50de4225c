from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import beta

from pipeline.errors import StateError
from pipeline.models.algorithms.beta_thompson import BetaThompson
from pipeline.models.grid import Grid
from pipeline.models.sums.statistics import Statistics, contributions

ONE = 2**15
GRID = Grid(15)
MODEL = BetaThompson(prior_alpha=1.0, prior_beta=2.0)


def rewarded(rewards: list[int]) -> Statistics:
    return Statistics(0, contributions(np.zeros((len(rewards), 0), np.int16), rewards))


def test_successes_and_failures_are_counted_onto_the_prior():
    posterior = MODEL.posterior([rewarded([ONE, 0, 0, ONE, 0]), rewarded([])], GRID)
    assert posterior.parameters["alpha"].tolist() == [1 + 2, 1]
    assert posterior.parameters["beta"].tolist() == [2 + 3, 2]


def test_a_reward_between_counts_as_that_fraction_of_a_success():
    posterior = MODEL.posterior([rewarded([ONE // 4, ONE])], GRID)
    assert posterior.parameters["alpha"].tolist() == [1 + 1.25]
    assert posterior.parameters["beta"].tolist() == [2 + 0.75]


def test_rewards_below_one_half_use_their_finer_grid():
    posterior = MODEL.posterior([rewarded([2**14])], Grid(17))  # 2**14 / 2**17 = 1/8
    assert posterior.parameters["alpha"].tolist() == [1 + 1 / 8]
    assert posterior.parameters["beta"].tolist() == [2 + 7 / 8]


def test_a_failure_among_billions_of_successes_is_not_rounded_away():
    n = 2**33 - 1
    sums = np.array([n, (n - 1) * ONE, 0], np.int64)
    assert MODEL.posterior([Statistics(0, sums)], GRID).parameters["beta"].tolist() == [2 + 1]


def test_estimates_agree_with_scipy_stats():
    posterior = MODEL.posterior([rewarded([ONE] * 30 + [0] * 470), rewarded([0] * 3)], GRID)
    alpha, failures = np.array([31.0, 1.0]), np.array([472.0, 5.0])
    mean, low, high = MODEL.estimates(posterior, None)
    np.testing.assert_allclose(mean, beta.mean(alpha, failures), rtol=1e-12)
    np.testing.assert_allclose(low, beta.ppf(0.025, alpha, failures), rtol=1e-9)
    np.testing.assert_allclose(high, beta.ppf(0.975, alpha, failures), rtol=1e-9)


def test_a_grid_that_admits_rewards_above_one_is_refused():
    with pytest.raises(ValueError, match=r"rewards must lie in \[0, 1\]"):
        MODEL.posterior([rewarded([0])], Grid(14))


@pytest.mark.parametrize(
    "row", [rewarded([-1]), Statistics.zero(0) - rewarded([0]), Statistics(0, np.array([0, 1, 1]))]
)
def test_sums_that_no_rewards_of_zero_to_one_make_are_refused(row):
    with pytest.raises(StateError, match="must not be negative"):
        MODEL.posterior([row], GRID)
