from __future__ import annotations

import numpy as np
import pytest

from pipeline.models.statistics import Statistics, contributions
from pipeline.models.weighted import ArmPrior, WeightedSums, weigh

ONE = 2**15


def bucket(seed: int, dimension: int = 2) -> Statistics:
    rng = np.random.default_rng(seed)
    X = rng.integers(-(2**12), 2**12, (50, dimension)).astype(np.int16)
    return Statistics(dimension, contributions(X, rng.integers(0, ONE, 50)))


def test_weights_of_one_keep_the_sum_exact():
    assert weigh([(1.0, bucket(1)), (1.0, bucket(2)), (0.0, bucket(3))], 2, 15) == bucket(1) + bucket(2)


def test_no_bucket_at_all_is_nothing():
    assert weigh([], 2, 15) == Statistics.zero(2)


def test_every_sum_is_weighted_alike():
    one, other = bucket(1), bucket(2)
    found = weigh([(1.0, one), (0.25, other)], 2, 15)
    assert isinstance(found, WeightedSums)
    assert found.sums.tolist() == [a + b / 4 for a, b in zip(one.sums.tolist(), other.sums.tolist(), strict=True)]
    A, b = found.moments()
    (A1, b1), (A2, b2) = one.moments(), other.moments()
    assert (A == A1 + A2 / 4).all()
    assert (b == b1 + b2 / 4).all()
    assert (found.n, found.reward_sum) == (62.5, one.reward_sum + other.reward_sum / 4)


@pytest.mark.parametrize("dimension", [0, 3])
def test_a_prior_is_the_sums_of_that_many_such_decisions(dimension):
    # Four decisions with rewards 1, 1, 0, 0: mean 1/2, variance 1/4; their context is the intercept.
    X = np.zeros((4, dimension), np.int16)
    X[:, :1] = 2**12
    decided = contributions(X, [ONE, ONE, 0, 0])
    assert ArmPrior(0.5, 4.0, 0.25).sums(dimension, 15).tolist() == decided.tolist()
