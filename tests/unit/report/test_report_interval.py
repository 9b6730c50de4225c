from __future__ import annotations

from math import isnan

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.stats import binomtest, ttest_1samp

from pipeline.report.interval import Group, Interval, interval_of, range_of

UNIT = (0.0, 1.0)


def clicks(successes: int, trials: int) -> Group:
    return Group.of([(1, 1.0)] * successes + [(1, 0.0)] * (trials - successes))


def alone(group: Group, declared: tuple[float, float] = UNIT, *, is_exact: bool = True) -> Interval:
    return interval_of(group, range_of(group, declared), declared, is_exact=is_exact)


def test_the_mean_is_a_decisions_and_its_variance_a_subjects():
    group = Group.of([(2, 1.0), (3, 2.0), (1, 0.0)])
    # μ = 3/6; rests 1 - 1 = 0, 2 - 1.5 = 0.5, 0 - 0.5 = -0.5; their squares' sum by 3/2.
    assert (group.subjects, group.mean, group.residual_squares) == (3, 0.5, pytest.approx(0.75))
    assert isnan(Group.of([]).mean)


@pytest.mark.parametrize(("successes", "trials"), [(1, 4_000), (3, 5_000), (40, 1_000), (990, 1_000)])
def test_of_clicks_it_is_clopper_and_pearsons(successes, trials):
    expected = binomtest(successes, trials).proportion_ci(0.95, method="exact")
    # A variance of m subjects is of m - 1, and Student's quantile a little wider.
    assert alone(clicks(successes, trials))[1:] == pytest.approx((expected.low, expected.high), rel=4e-3)


def test_nobodys_success_leaves_room_for_three():
    # (1 - p)^1000 = 0.025 at p = 0.00368; half of what is as little, 0.05, at 0.00299.
    assert alone(clicks(0, 1_000)) == pytest.approx((0.0, 0.0, 0.00368), abs=2e-5)
    assert alone(clicks(0, 1_000), is_exact=False) == pytest.approx((0.0, 0.0, 0.00299), abs=2e-5)


def test_nobodys_success_leaves_room_for_the_largest_reward_that_is_declared():
    assert alone(clicks(0, 1_000), (0.0, 50.0)).high == pytest.approx(50 * alone(clicks(0, 1_000)).high)


def test_decisions_of_a_subject_that_are_alike_count_as_one():
    rewards = [0.0, 1.0, 1.0, 0.0, 1.0, 0.0, 0.0, 1.0]
    single, tenfold = Group.of((1, r) for r in rewards), Group.of((10, 10 * r) for r in rewards)
    assert alone(tenfold) == pytest.approx(alone(single))


def test_of_plenty_it_is_students():
    rewards = np.random.default_rng(3).gamma(4.0, size=20_000)
    group = Group.of((1, float(reward)) for reward in rewards)
    low, high = ttest_1samp(rewards, 0.0).confidence_interval(0.95)
    assert alone(group, (0.0, 100.0))[1:] == pytest.approx((low, high), abs=0.02 * (high - low))


def test_refunds_beside_purchases_are_no_count():
    rewards = [0.0] * 960 + [30.0] * 30 + [-20.0] * 10
    group = Group.of((1, reward) for reward in rewards)
    low, high = ttest_1samp(rewards, 0.0).confidence_interval(0.95)
    found = alone(group, (-100.0, 100.0))
    assert found.low < low < high < found.high
    # Two more of the largest, 30 - 0.7 + 20 and no more, beside squares of 31,000: 1.07 times as wide.
    assert found.high - found.low < 1.1 * (high - low)


@given(
    st.lists(st.tuples(st.integers(1, 5), st.integers(0, 8)), min_size=3, max_size=60),
    st.sampled_from([0.25, 8.0, 1000.0]),
    st.sampled_from([0.0, -3.0, 100.0]),
)
def test_other_units_and_another_zero_change_nothing_but_the_numbers(subjects, factor, shift):
    group = Group.of((n, n * r / 8) for n, r in subjects)
    other = Group.of((n, n * (factor * r / 8 + shift)) for n, r in subjects)
    moved = alone(other, (shift, factor + shift))
    expected = [factor * limit + shift for limit in alone(group)]
    assert moved == pytest.approx(expected, rel=1e-6, abs=1e-6 * factor)


@given(st.lists(st.tuples(st.integers(1, 9), st.floats(-5.0, 5.0)), min_size=2, max_size=30))
@example([(1, -2.924702948417891), (3, -2.924702948417891)])  # alike, but for the rounding of 3 r / 3
def test_an_interval_holds_its_value_and_ends_within_what_rewards_may_be(subjects):
    group = Group.of((n, n * r) for n, r in subjects)
    found = alone(group, (-5.0, 5.0))
    assert -5.0 - 1e-9 <= found.low <= found.value + 1e-9
    assert found.value - 1e-9 <= found.high <= 5.0 + 1e-9
