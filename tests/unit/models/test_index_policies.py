"""The policies that go by an index an arm: fixed split, ε-greedy, UCB1, UCB-tuned, KL-UCB+."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import brentq

from pipeline.models import model_for
from pipeline.models.algorithms.kl_ucb import upper_bounds
from pipeline.models.model import Posterior


def arms(n: list[float], mean: list[float], variance: list[float] | None = None) -> Posterior:
    given = {
        "n": n,
        "mean": mean,
        "variance": variance or [m * (1 - m) for m in mean],
        "standard_error": [0.1] * len(n),
    }
    return Posterior({name: np.array(array, np.float64) for name, array in given.items()})


def weights(name: str, posterior: Posterior, **parameters: float) -> list[float]:
    return model_for(name, parameters).probabilities(posterior, None).tolist()


def test_a_split_is_equal_until_the_test_is_over_and_then_the_winner_s():
    assert weights("fixed_split", arms([60, 39], [0.1, 0.2]), decisions=100) == [0.5, 0.5]
    assert weights("fixed_split", arms([60, 40], [0.1, 0.2]), decisions=100) == [0.0, 1.0]


def test_a_split_without_end_stays_equal():
    assert weights("fixed_split", arms([1e9, 1e9], [0.1, 0.2]), decisions=0) == [0.5, 0.5]


def test_an_arm_that_came_after_the_test_does_not_win_it():
    assert weights("fixed_split", arms([60, 40, 0], [-0.1, -0.2, 0.0]), decisions=100) == [1.0, 0.0, 0.0]


def test_epsilon_is_shared_by_all_arms():
    # 0.3 / 3 each, and 0.7 for the best.
    assert weights("epsilon_greedy", arms([5, 5, 5], [0.1, 0.4, 0.2]), epsilon=0.3) == pytest.approx([0.1, 0.8, 0.1])


def test_epsilon_halves_at_so_many_decisions():
    # ε = 0.4 * 30 / (30 + 30) = 0.2, a half of it each.
    assert weights("epsilon_greedy", arms([10, 20], [0.1, 0.4]), epsilon=0.4, halves_at=30) == pytest.approx([0.1, 0.9])


@pytest.mark.parametrize("name", ["epsilon_greedy", "ucb1", "ucb_tuned", "kl_ucb"])
def test_an_arm_nobody_tried_comes_first(name):
    found = weights(name, arms([50, 0, 50, 0], [0.9, 0.0, 0.9, 0.0]))
    assert found[1] == found[3] > 0.4


@pytest.mark.parametrize("name", ["epsilon_greedy", "ucb1", "ucb_tuned", "kl_ucb"])
def test_equal_arms_share(name):
    found = weights(name, arms([50, 50], [0.4, 0.4]))
    assert found == [0.5, 0.5]


def test_ucb1_goes_by_the_bound_of_the_paper():
    # t = 1000, ln t = 6.9078. Bounds at alpha = 2: 0.5 + sqrt(13.8155/900) = 0.6239; 0.3 + sqrt(13.8155/100) = 0.6717.
    # At alpha = 1: 0.5876 and 0.5628.
    two = arms([900, 100], [0.5, 0.3])
    assert weights("ucb1", two, alpha=2.0) == [0.0, 1.0]
    assert weights("ucb1", two, alpha=1.0) == [1.0, 0.0]


def test_ucb_tuned_goes_by_the_variance():
    # Equal means and counts: the arm whose rewards vary has the larger bound.
    # ln 1000 / 500 = 0.013816: 0.01 + sqrt(0.02763) = 0.1762 and 0.02 + 0.1662 = 0.1862, both below 1/4.
    assert weights("ucb_tuned", arms([500, 500], [0.5, 0.5], [0.01, 0.02])) == [0.0, 1.0]
    # 0.24 + 0.166 and 0.25 + 0.166 are both above 1/4, the largest that there is.
    assert weights("ucb_tuned", arms([500, 500], [0.5, 0.5], [0.24, 0.25])) == [0.5, 0.5]


@pytest.mark.parametrize("mean", [0.0, 1e-4, 0.05, 0.5, 0.9])
@pytest.mark.parametrize("divergence", [1e-6, 1e-3, 0.1, 2.0])
def test_kl_bounds_are_roots_of_the_divergence(mean, divergence):
    def excess(q: float) -> float:
        first = mean * np.log(mean / q) if mean > 0 else 0.0
        return first + (1 - mean) * np.log((1 - mean) / (1 - q)) - divergence

    expected = brentq(excess, mean + 1e-15, 1 - 1e-16, xtol=1e-16, rtol=1e-15)
    assert upper_bounds(np.array([mean]), np.array([divergence])).tolist() == [pytest.approx(expected, rel=1e-9)]


def test_a_mean_of_one_is_its_own_bound():
    assert upper_bounds(np.array([1.0]), np.array([0.5])).tolist() == [1.0]


def test_kl_ucb_gives_credit_for_being_tried_less():
    # ln(1000/100)/100 = 0.0230 of divergence from 0.10 reaches 0.187; ln(1000/900)/900 = 0.0001 from 0.14 only 0.145.
    assert weights("kl_ucb", arms([900, 100], [0.14, 0.10])) == [0.0, 1.0]
    # At a hundredth of it 0.10 reaches 0.106.
    assert weights("kl_ucb", arms([900, 100], [0.14, 0.10]), scale=0.01) == [1.0, 0.0]
