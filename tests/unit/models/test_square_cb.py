from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import brentq

from pipeline.models import model_for
from pipeline.models.algorithms.square_cb import inverse_gap_weights
from pipeline.models.model import Posterior


@pytest.mark.parametrize("count", [1, 2, 10, 1000])
@pytest.mark.parametrize("size", [0.0, 1e-9, 0.1, 3.0, 1e3, 1e12])
def test_weights_are_the_inverse_gaps_and_sum_to_one(count, size):
    gap = np.random.default_rng(count).exponential(size=count) * size
    gap[0] = 0.0
    expected = brentq(lambda smooth: (1 / (smooth + gap)).sum() - 1, 1 - 1e-9, count + 1e-9, xtol=1e-14, rtol=1e-14)
    weights = inverse_gap_weights(gap)
    assert abs(weights.sum() - 1) < 1e-14
    np.testing.assert_allclose(weights, 1 / (expected + gap), rtol=1e-9)


def test_arms_that_all_but_tie_share_alike():
    # 2/λ + 1/(λ + 50) = 1: λ² + 47 λ - 100 = 0, λ = (-47 + sqrt(2609)) / 2
    share = 2 / (-47 + np.sqrt(2609))
    assert inverse_gap_weights(np.array([0.0, 1e-15, 50.0]))[:2].tolist() == pytest.approx([share, share], rel=1e-9)


def test_gaps_count_more_with_every_decision():
    posterior = Posterior(
        {
            "theta": np.array([[0.5], [0.3]]),
            "covariance": np.ones((2, 1, 1)),
            "noise": np.ones(2),
            "n": np.array([300.0, 100.0]),
        }
    )
    # γ = 5 sqrt(400) = 100, gap 0.2: 1/λ + 1/(λ + 20) = 1, λ² + 18 λ - 20 = 0, λ = -9 + sqrt(101)
    smooth = -9 + np.sqrt(101)
    weights = model_for("square_cb", {"gamma": 5.0}).probabilities(posterior, np.ones(1))
    assert weights.tolist() == [pytest.approx(1 / smooth, rel=1e-9), pytest.approx(1 / (smooth + 20), rel=1e-9)]
