from __future__ import annotations

import numpy as np
import pytest

from pipeline.evaluate.reward_model import RIDGES, fit_reward_model, with_intercept


def test_without_features_an_arm_is_predicted_by_its_mean_elsewhere_drawn_to_that_of_its_segment():
    n = 10
    arm = np.array([0, 1] * 5)
    reward = np.array([1.0, 0.0] * 5)
    vectors = with_intercept(np.zeros((n, 0), np.int16))
    which = np.arange(n) % 5
    model = fit_reward_model(np.zeros(n, int), arm, reward, vectors, which, counts=(1, 3), bounds=(0.0, 1.0))
    # The arms differ wholly, so the least ridge predicts best: λ = 1.
    assert model.ridge == min(RIDGES)
    # Fold 0 holds decisions 0 and 5 (arms 0 and 1). Of the others, 4 showed arm 0 (Σr = 4), 4 arm 1 (Σr = 0): μ = 1/2.
    q = model.predict(np.array([0]), np.array([0]), np.ones((1, 1)))
    assert q[0] == pytest.approx([(4 + 0.5) / 5, (0 + 0.5) / 5, 0.5])


def test_a_decision_says_nothing_in_its_own_prediction():
    rng = np.random.default_rng(5)
    n, d = 200, 3
    vectors = rng.integers(-4096, 4097, (n, d)).astype(np.int16)
    vectors[:, 0] = 4096
    segment, arm = rng.integers(2, size=n), rng.integers(4, size=n)
    reward = rng.random(n)
    x = vectors / 4096
    counts = (2, 4)
    which = np.arange(n) % 5
    fitted = fit_reward_model(segment, arm, reward, vectors, which, counts=counts, bounds=(0.0, 1.0))
    changed = reward.copy()
    mine = which == 3
    changed[mine] *= 0.999  # so little that λ stays, which all decisions choose together
    again = fit_reward_model(segment, arm, changed, vectors, which, counts=counts, bounds=(0.0, 1.0))
    assert fitted.ridge == again.ridge, "another λ would change everything"
    for model in (fitted, again):
        assert model.theta.shape == (5, 2, 4, 3)
    assert (again.theta[3] == fitted.theta[3]).all()
    assert not (again.theta[2] == fitted.theta[2]).all()
    assert again.predict(which, segment, x).shape == (n, 4)


def test_a_linear_reward_is_found():
    rng = np.random.default_rng(6)
    n = 4_000
    vectors = rng.integers(-4096, 4097, (n, 2)).astype(np.int16)
    vectors[:, 0] = 4096
    x = vectors / 4096
    arm = rng.integers(2, size=n)
    reward = 0.5 + np.where(arm == 0, 0.3, -0.3) * x[:, 1]
    which = np.arange(n) % 5
    model = fit_reward_model(np.zeros(n, int), arm, reward, vectors, which, counts=(1, 2), bounds=(0.0, 1.0))
    q = model.predict(which, np.zeros(n, int), x)
    # λ = 1 against about 500 observations' worth of x² an arm draws the slope in by 1 in 500.
    assert np.abs(q[np.arange(n), arm] - reward).max() < 0.003
