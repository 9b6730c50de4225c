from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ttest_ind

from pipeline.report.always import error_at
from pipeline.report.interval import Group
from pipeline.report.lift import lift_of
from pipeline.report.sample_ratio import Split, always_p_value, p_value_now

UNIT = (0.0, 1.0)


def clicks(successes: int, trials: int) -> Group:
    return Group.of([(1, 1.0)] * successes + [(1, 0.0)] * (trials - successes))


def test_a_holdout_without_a_success_is_not_surely_worse():
    # 20 of 19,000 against 0 of 1,000: Newcombe's interval goes from -0.0028 to 0.0016, Fisher's p is 0.62.
    lift = lift_of(clicks(20, 19_000), clicks(0, 1_000), UNIT)
    assert lift is not None
    assert lift.difference.low == pytest.approx(-0.0020, abs=0.0002)  # 0.00105 - 0.00299, and a little of its own
    assert lift.difference.high == pytest.approx(0.0016, abs=0.0001)
    assert lift.relative is None


def test_with_plenty_of_decisions_it_is_welchs_interval():
    rng = np.random.default_rng(1)
    policy, holdout = rng.gamma(4.0, size=9_000), rng.gamma(4.4, size=3_000)
    lift = lift_of(*(Group.of([(1, float(r)) for r in group]) for group in (policy, holdout)), (0.0, 100.0))
    assert lift is not None
    low, high = ttest_ind(policy, holdout, equal_var=False).confidence_interval(0.95)
    assert lift.difference[1:] == pytest.approx((low, high), abs=0.02 * (high - low))


def test_the_relative_lift_is_of_the_holdouts_mean():
    lift = lift_of(clicks(12_000, 100_000), clicks(10_000, 100_000), UNIT)
    assert lift is not None
    assert lift.relative is not None
    # Variances 0.12 · 0.88 / 1e5 and 0.1 · 0.9 / 1e5: se = sqrt((1.056e-6 + 1.44 · 0.9e-6) / 0.01) = 0.01533, by 1.96.
    assert lift.relative.value == pytest.approx(0.2)
    assert lift.relative[1:] == pytest.approx((0.17, 0.23), abs=0.001)


def test_whoever_looks_every_day_sees_a_wider_interval():
    lift = lift_of(clicks(300, 2_000), clicks(200, 2_000), UNIT)
    assert lift is not None
    # 1,000 effective subjects: 3.04 deviations where one look has 1.96.
    once, always = lift.difference, lift.always
    assert (always.high - always.low) / (once.high - once.low) == pytest.approx(3.04 / 1.96, rel=0.02)
    assert error_at(1_000.0, 0.05) < error_at(1_000.0, 0.2)


@pytest.mark.parametrize("rewards", [[0.0, 1.0], [0.3] + [0.0] * 9, [-1.0, 0.0, 0.0, 0.0, 1.0]])
def test_a_handful_of_subjects_have_an_interval_at_any_look(rewards):
    for policy in (2, 3, 5, 8, 12, 25, 60):
        for holdout in (2, 3, 4, 7, 14):
            groups = [Group.of([(1, rewards[i % len(rewards)]) for i in range(n)]) for n in (policy, holdout)]
            lift = lift_of(*groups, (-1.0, 1.0))
            assert lift is not None
            assert lift.always.low <= lift.difference.low <= lift.difference.value
            assert lift.difference.value <= lift.difference.high <= lift.always.high


def test_too_few_subjects_give_no_lift():
    assert lift_of(clicks(1, 2), Group.of([(5, 1.0)]), UNIT) is None


def test_held_out_as_declared_is_no_surprise_and_twice_as_many_is():
    assert always_p_value({0.05: Split(10_000, 500)}) == 1.0
    assert p_value_now({0.05: Split(10_000, 500)}) == pytest.approx(1.0)
    assert always_p_value({0.05: Split(10_000, 700)}) < 1e-9


def test_a_share_that_was_changed_is_no_surprise_either():
    # 5 % of 10,000 and then 50 % of 2,000: 12.5 % of all, which neither share says.
    changed = {0.05: Split(10_000, 500), 0.5: Split(2_000, 1_000)}
    assert always_p_value(changed) == 1.0
    assert p_value_now(changed) is None
    assert always_p_value({0.05: Split(12_000, 1_500)}) < 1e-12
