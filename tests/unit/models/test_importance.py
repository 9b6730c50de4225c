from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import StateError
from pipeline.models.grid import MAX_ROWS, REWARD_LIMIT
from pipeline.models.sums.importance import columns_for, entries, entries_of_many, weigh_importance
from pipeline.models.sums.objectives import Weights
from pipeline.models.sums.statistics import Statistics
from pipeline.models.sums.weighted import ArmPrior

ONE = 2**15
NOTHING = Statistics.zero(0)
AS_REWARDS = Weights((1,), 0)


def row(*sums: int) -> Statistics:
    return Statistics(-len(sums), np.array(sums))


def test_a_decision_counts_as_many_times_as_its_propensity_makes_it_rare():
    # 1/p in steps of 2^-15, r/p in those of the reward, each to the nearest: 32,768 / 0.7 = 46,811.4, 3 / 0.7 = 4.29.
    assert entries(0.7, [3, -3, 0]) == [46_811, 4, -4, 0]


def test_over_all_that_may_be_drawn_it_counts_what_was_earned():
    # Arms with chances of 1/4 and 3/4 that earn 1 and 0.5: each is expected to count for itself, once.
    for p, reward in ((0.25, ONE), (0.75, ONE // 2)):
        drawn, earned = entries(p, [reward])
        assert (p * drawn, p * earned) == pytest.approx((ONE, reward), abs=0.5)


@pytest.mark.parametrize("p", [2.0**-15, 2.0**-16, 1e-300])
def test_a_decision_weighs_at_most_as_much_as_leaves_a_full_row_exact(p):
    largest = entries(p, [REWARD_LIMIT, -REWARD_LIMIT])
    assert largest == [2**30, 2**30, -(2**30)]
    assert MAX_ROWS * 2**30 < 2**63
    assert Statistics(-3, MAX_ROWS * np.array(largest)).sums.tolist() == [MAX_ROWS * entry for entry in largest]


@pytest.mark.parametrize("p", [0.0, -0.1, 1.0000001, float("nan")])
def test_what_is_no_propensity_is_refused(p):
    with pytest.raises(StateError, match=r"lies in \(0, 1\]"):
        entries(p, [1])


@given(st.lists(st.tuples(st.floats(1e-9, 1.0), st.integers(-REWARD_LIMIT, REWARD_LIMIT)), min_size=1))
def test_many_at_once_count_as_each_alone(decisions):
    propensities, amounts = (np.array(column, np.float64) for column in zip(*decisions, strict=True))
    found = entries_of_many(propensities, amounts)
    assert found.tolist() == [entries(p, [amount])[1] for p, amount in decisions]


def test_where_nothing_fades_the_sums_are_exact_however_large():
    # In float64 2^62 + 2^15 + 2^15 would lose one of the small ones if they were added one by one.
    rows = [(1.0, 1.0, row(ONE, 1)), (1.0, 1.0, row(2**62, 2**53)), (1.0, 1.0, row(ONE, 1))]
    known = weigh_importance(rows, NOTHING, AS_REWARDS)
    assert (known.drawn, known.earned) == (2.0**47 + 2.0, 2.0**53 + 2.0)


def test_a_bucket_counts_by_its_age_and_what_is_still_to_come_only_for_how_often():
    rows = [(0.5, 0.25, row(8 * ONE, 100)), (0.0, 1.0, row(ONE, 7))]
    known = weigh_importance(rows, NOTHING, AS_REWARDS)
    assert (known.drawn, known.earned) == (1.0, 50.0)


def test_a_prior_is_decisions_in_which_the_arm_was_certain():
    known = weigh_importance([(1.0, 1.0, row(2 * ONE, 0))], NOTHING, AS_REWARDS, ArmPrior(0.5, 10.0, 0.25), 15)
    assert (known.drawn, known.earned) == (12.0, 5.0 * ONE)


def test_kinds_that_are_counted_apart_are_worth_what_they_are_worth_now():
    # Two kinds in steps of 2^-3 of the grid's: 3 * 100 / 8 - 1 * 60 / 8.
    assert columns_for(2) == 3
    known = weigh_importance([(1.0, 1.0, row(ONE, 100, 60))], NOTHING, Weights((3, -1), 3))
    assert known.earned == 30.0
