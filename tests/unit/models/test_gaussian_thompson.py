from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t

from pipeline.models import model_for
from pipeline.models.grid import Grid
from pipeline.models.sums.statistics import Statistics, contributions

PRIOR = {"prior_mean": 0.7, "prior_weight": 3.0, "prior_deviation": 2.0, "prior_shape": 1.5}


def rewarded(rewards: np.ndarray) -> Statistics:
    return Statistics(0, contributions(np.zeros((len(rewards), 0), np.int16), rewards))


def updated_one_by_one(values: np.ndarray) -> tuple[float, float, float, float]:
    """Return m, κ, a, b after one observation after another: Murphy 2007, equations 86 to 89 with n = 1."""
    m, kappa, a, b = 0.7, 3.0, 1.5, 1.5 * 2.0**2
    for x in values:
        b += 0.5 * kappa * (x - m) ** 2 / (kappa + 1)
        m = (kappa * m + x) / (kappa + 1)
        kappa += 1
        a += 0.5
    return m, kappa, a, b


def test_the_posterior_is_that_of_one_observation_after_another():
    rewards = np.random.default_rng(5).integers(-(2**15), 2**15, 200)
    found = model_for("gaussian_thompson", PRIOR).posterior([rewarded(rewards)], Grid(12)).parameters
    m, kappa, a, b = updated_one_by_one(rewards / 2**12)
    assert found["location"][0] == pytest.approx(m, rel=1e-9)
    assert found["scale"][0] == pytest.approx(np.sqrt(b / (a * kappa)), rel=1e-9)
    assert found["freedom"][0] == 2 * a


def test_without_data_it_is_the_prior():
    found = model_for("gaussian_thompson", PRIOR).posterior([Statistics.zero(0)], Grid(12)).parameters
    # b / (a κ) = 2² / 3
    assert found["location"].tolist() == [pytest.approx(0.7)]
    assert found["scale"].tolist() == [pytest.approx(2 / np.sqrt(3))]
    assert found["freedom"].tolist() == [3.0]


def test_estimates_are_student_s_central_95_percent():
    model = model_for("gaussian_thompson", PRIOR)
    posterior = model.posterior([rewarded(np.array([4096, 0, -4096, 8192]))], Grid(12))
    mean, low, high = model.estimates(posterior, None)
    arm = t(*(posterior.parameters[name][0] for name in ("freedom", "location", "scale")))
    assert (mean[0], low[0], high[0]) == pytest.approx((arm.mean(), arm.ppf(0.025), arm.ppf(0.975)), rel=1e-9)
