from __future__ import annotations

from math import log, sqrt

import numpy as np
import pytest
from scipy.stats import beta

from pipeline.evaluate.estimators import Parts, Terms, all_parts
from pipeline.evaluate.intervals import bootstrap, empirical_bernstein


def test_bernstein_is_the_bound_of_maurer_and_pontil():
    # V = 1/2 for (0, 1), δ = 0.05, ln(4 / 0.05) = ln 80
    low, high = empirical_bernstein(np.array([0.0, 1.0]), width=1.0, confidence=0.95)
    reach = sqrt(2 * 0.5 * log(80) / 2) + 7 * log(80) / 3
    assert (low, high) == pytest.approx((0.5 - reach, 0.5 + reach))


def test_one_decision_says_nothing():
    assert empirical_bernstein(np.array([1.0]), 1.0, 0.95) == (float("-inf"), float("inf"))


def test_the_bootstrap_of_a_mean_and_of_a_ratio_agree_with_the_normal_approximation():
    rng = np.random.default_rng(2)
    weight = rng.uniform(0.5, 1.5, 2_000)
    reward = weight * rng.random(2_000)
    parts = [Parts("mean", reward, np.ones(2_000), None), Parts("ratio", reward, weight, None)]
    for part, found in zip(parts, bootstrap(parts, rng, 2_000, 0.95), strict=True):
        # A quantile of 2,000 resamples has a standard error of about 0.06 of the standard deviation at 2.5 %.
        assert found.low == pytest.approx(part.estimate - 1.96 * part.standard_error, abs=0.3 * part.standard_error)
        assert found.high == pytest.approx(part.estimate + 1.96 * part.standard_error, abs=0.3 * part.standard_error)


def test_resampling_in_chunks_changes_nothing(monkeypatch):
    part = Parts("mean", np.arange(10.0), np.ones(10), None)
    whole = bootstrap([part], np.random.default_rng(3), 100, 0.9)
    monkeypatch.setattr("pipeline.evaluate.intervals._CHUNK", 70)
    for one, other in zip(bootstrap([part], np.random.default_rng(3), 100, 0.9)[0], whole[0], strict=True):
        assert one == pytest.approx(other, rel=1e-12)


@pytest.mark.parametrize("successes", [0, 1, 3, 30])
def test_of_rates_the_interval_is_that_of_clopper_and_pearson(successes):
    n, ones = 200, np.ones(200)
    reward = np.repeat([1.0, 0.0], [successes, n - successes])
    terms = Terms(reward, ones, np.zeros(n), np.zeros(n))
    parts = all_parts(terms, clip=9.0, bounds=(0.0, 1.0), weight_bound=1.0)
    found = bootstrap(parts, np.random.default_rng(4), 40_000, 0.95)
    low = beta.ppf(0.025, successes, n - successes + 1) if successes else 0.0
    high = beta.ppf(0.975, successes + 1, n - successes)
    # A quantile of 40,000 draws is off by about 0.013 of a standard deviation, here less than 0.013.
    for part, interval in zip(parts, found, strict=True):
        if part.name != "DM":
            assert interval == pytest.approx((low, high), abs=1e-3), part.name


def test_added_up_by_subject_the_estimate_stays_and_its_error_is_that_of_subjects():
    part = Parts("IPS", np.array([1.0, 1.0, 0.0, 0.0]), np.ones(4), 1.0)
    by_subject = part.added_up(np.array([0, 0, 1, 1]), 2)
    assert by_subject.estimate == part.estimate == 0.5
    # Two subjects, who earned 2 and 0 in two decisions each: half the spread of 1 each way.
    assert by_subject.standard_error == pytest.approx(0.5)
    assert part.standard_error == pytest.approx(sqrt(4 * 0.25 / 3 / 4))
    assert by_subject.width == 2.0
