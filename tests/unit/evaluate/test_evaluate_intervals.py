from __future__ import annotations

from math import log, sqrt

import numpy as np
import pytest

from pipeline.evaluate.estimators import Parts
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
    parts = [Parts("mean", reward, None, None), Parts("ratio", reward, weight, None)]
    for part, found in zip(parts, bootstrap(parts, rng, 2_000, 0.95), strict=True):
        # A quantile of 2,000 resamples has a standard error of about 0.06 of the standard deviation at 2.5 %.
        assert found.low == pytest.approx(part.estimate - 1.96 * part.standard_error, abs=0.3 * part.standard_error)
        assert found.high == pytest.approx(part.estimate + 1.96 * part.standard_error, abs=0.3 * part.standard_error)


def test_resampling_in_chunks_changes_nothing(monkeypatch):
    part = Parts("mean", np.arange(10.0), None, None)
    whole = bootstrap([part], np.random.default_rng(3), 100, 0.9)
    monkeypatch.setattr("pipeline.evaluate.intervals._CHUNK", 70)
    assert bootstrap([part], np.random.default_rng(3), 100, 0.9) == whole
