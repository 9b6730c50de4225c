from __future__ import annotations

from math import isnan, sqrt

import numpy as np
import pytest
from scipy.stats import ttest_ind

from pipeline.report.lift import Mean, lift_of, mean_of


def test_the_mean_is_a_decision_s_and_its_variance_a_subject_s():
    # μ = 3/6; rests 1 - 1 = 0, 2 - 1.5 = 0.5, 0 - 0.5 = -0.5; v = 0.5 / (3 · 2) / (6/3)² = 0.5/24.
    mean = mean_of([(2, 1.0), (3, 2.0), (1, 0.0)])
    assert mean == Mean(3, 6, 0.5, pytest.approx(0.5 / 24))


def test_with_one_decision_a_subject_it_is_welchs_interval():
    rng = np.random.default_rng(1)
    policy, holdout = rng.normal(1.3, 1.0, 40), rng.normal(1.0, 0.5, 25)
    lift = lift_of(*(mean_of([(1, float(reward)) for reward in group]) for group in (policy, holdout)))
    assert lift is not None
    expected = ttest_ind(policy, holdout, equal_var=False)
    low, high = expected.confidence_interval(0.95)
    assert lift.difference == pytest.approx((policy.mean() - holdout.mean(), low, high), rel=1e-9)


def test_decisions_of_a_subject_that_are_alike_count_as_one():
    # Ten times the same decision says no more than one: the interval is that of the single ones.
    rewards = [0.0, 1.0, 1.0, 0.0, 1.0]
    single, tenfold = mean_of((1, r) for r in rewards), mean_of((10, 10 * r) for r in rewards)
    assert tenfold.value == single.value
    assert tenfold.variance == pytest.approx(single.variance)


def test_the_relative_lift_is_of_the_holdouts_mean():
    lift = lift_of(Mean(10_000, 10_000, 0.12, 1e-6), Mean(10_000, 10_000, 0.10, 1e-6))
    assert lift is not None
    assert lift.relative is not None
    # se = sqrt((1e-6 + 1.44e-6) / 0.01) = 0.015620, times 1.96.
    assert lift.relative.value == pytest.approx(0.2)
    assert lift.relative.high - 0.2 == pytest.approx(1.96 * sqrt(2.44e-4), rel=1e-3)


def test_a_holdout_that_may_earn_nothing_gives_no_relative_lift():
    lift = lift_of(Mean(100, 100, 0.12, 1e-6), Mean(100, 100, 0.10, 0.01))
    assert lift is not None
    assert lift.relative is None


def test_too_few_subjects_give_no_lift():
    assert isnan(mean_of([]).value)
    assert mean_of([(5, 1.0)]).interval is None
    assert lift_of(mean_of([(1, 0.0), (1, 1.0)]), mean_of([(5, 1.0)])) is None


def test_rewards_that_are_all_the_same_give_an_interval_of_no_width():
    lift = lift_of(mean_of([(1, 1.0)] * 3), mean_of([(1, 0.5)] * 3))
    assert lift is not None
    assert lift.difference == (0.5, 0.5, 0.5)
    assert lift.relative == (1.0, 1.0, 1.0)
