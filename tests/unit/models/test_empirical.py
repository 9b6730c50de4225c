from __future__ import annotations

import numpy as np
import pytest

from pipeline.errors import StateError
from pipeline.models.grid import Grid
from pipeline.models.regressions.empirical import decisions, empirical_estimates, empirical_posterior
from pipeline.models.sums.statistics import Statistics, contributions


def rewarded(rewards: list[int]) -> Statistics:
    return Statistics(0, contributions(np.zeros((len(rewards), 0), np.int16), rewards))


def test_moments_are_those_of_the_rewards():
    rng = np.random.default_rng(3)
    rewards = rng.integers(-(2**15), 2**15, 500)
    found = empirical_posterior([rewarded(rewards.tolist())], Grid(10)).parameters
    values = rewards / 2**10
    assert found["n"].tolist() == [500]
    assert found["mean"][0] == pytest.approx(values.mean(), rel=1e-12)
    assert found["variance"][0] == pytest.approx(values.var(), rel=1e-12)


def test_nothing_cancels_in_a_small_variance_around_a_large_mean():
    # n/2 rewards of 2^15 and n/2 of 2^15 - 1 grid units: variance 1/4, sixteen digits below the sum of squares.
    n, r = 2**33 - 2, 2**15
    squares = n // 2 * (r * r + (r - 1) ** 2)
    row = Statistics(0, np.array([n, n // 2 * (2 * r - 1), squares], np.int64))
    assert empirical_posterior([row], Grid(0)).parameters["variance"].tolist() == [0.25]


def test_an_arm_nobody_tried_is_anything_the_grid_holds():
    known = empirical_posterior([rewarded([])], Grid(15))
    assert {name: array.tolist() for name, array in known.parameters.items()} == {
        "n": [0.0],
        "mean": [0.0],
        "variance": [0.0],
        "standard_error": [1.0],
    }


def test_the_interval_counts_one_decision_of_the_widest_variance():
    # Rewards 0, 0, 1, 1: n variance = 1, (1 + 1) / 5 / 4 = 0.1
    mean, low, high = empirical_estimates(empirical_posterior([rewarded([0, 0, 2**15, 2**15])], Grid(15)))
    assert mean.tolist() == [0.5]
    assert (high - mean).tolist() == pytest.approx([1.959963984540054 * 0.1**0.5], rel=1e-12)
    assert (mean - low).tolist() == pytest.approx([1.959963984540054 * 0.1**0.5], rel=1e-12)


def test_decisions_are_those_of_all_arms():
    assert decisions(empirical_posterior([rewarded([0]), rewarded([]), rewarded([1, 2])], Grid(15))) == 3.0


def test_fewer_than_no_decisions_are_refused():
    with pytest.raises(StateError, match="fewer than no decisions: n = -1"):
        empirical_posterior([Statistics.zero(0) - rewarded([0])], Grid(15))
