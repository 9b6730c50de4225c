from __future__ import annotations

import numpy as np
import pytest

from pipeline.models.sums.statistics import Statistics, contributions
from pipeline.models.sums.weighted import ArmPrior, Maturing, WeightedSums, weigh, weigh_maturing

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


def test_when_all_has_come_maturing_buckets_are_weighed_as_others_are():
    parts = [(1.0, bucket(1)), (1.0, bucket(2))]
    found = weigh_maturing([Maturing(weight, 1.0, 3, row) for weight, row in parts], 2, 15)
    assert found == weigh(parts, 2, 15)


def test_of_a_bucket_of_which_half_has_come_half_of_n_and_a_counts_and_all_of_the_rewards():
    one = bucket(1)
    found = weigh_maturing([Maturing(0.5, 0.25, 0, one)], 2, 15)
    assert isinstance(found, WeightedSums)
    A, b = found.moments()
    A1, b1 = one.moments()
    assert (A == A1 / 8).all()
    assert (b == b1 / 2).all()
    assert (found.n, found.reward_sum) == (one.n / 8, one.reward_sum / 2)
    assert found.reward_square_sum == one.reward_square_sum / 2


def test_no_fewer_decisions_count_than_something_has_come_of():
    # Of 50 decisions a tenth would count, but something came of 20; ten more are known beforehand.
    found = weigh_maturing([Maturing(1.0, 0.1, 20, bucket(1))], 2, 15, ArmPrior(0.5, 10.0, 0.25))
    assert found.n == 30.0


def test_a_bucket_that_has_faded_away_is_as_if_it_had_not_been():
    parts = [Maturing(1.0, 0.5, 0, bucket(1))]
    found, without = (weigh_maturing(some, 2, 15) for some in ([*parts, Maturing(0.0, 0.1, 5, bucket(2))], parts))
    assert found.sums.tolist() == without.sums.tolist()
