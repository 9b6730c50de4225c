from __future__ import annotations

import numpy as np
import pytest
from scipy.special import betaln
from scipy.stats import norm

from pipeline.models.chances.best_arm import beta_best, gaussian_best

ACCURACY = 1e-6  # what is promised; what is reached is tested against tighter numbers where they're known


def chance_that_second_beats_first(a1: float, b1: float, a2: int, b2: float) -> float:
    """Return P(Beta(a2, b2) > Beta(a1, b1)) for an integer a2, in closed form (E. Miller 2014).

    Σ_{i < a2} B(a1 + i, b1 + b2) / ((b2 + i) B(1 + i, b2) B(a1, b1))
    """
    i = np.arange(a2)
    terms = betaln(a1 + i, b1 + b2) - np.log(b2 + i) - betaln(1 + i, b2) - betaln(a1, b1)
    return float(np.exp(terms).sum())


def test_a_single_arm_is_certain():
    assert gaussian_best(np.array([3.0]), np.array([2.0])).tolist() == [1.0]
    assert gaussian_best(np.array([3.0]), np.array([0.0])).tolist() == [1.0]
    assert beta_best(np.array([3.0]), np.array([2.0])).tolist() == [1.0]


@pytest.mark.parametrize("count", [2, 3, 20, 50])
def test_equal_arms_share_equally(count):
    np.testing.assert_allclose(gaussian_best(np.full(count, 7.0), np.full(count, 0.1)), 1 / count, rtol=1e-12)
    np.testing.assert_allclose(beta_best(np.full(count, 0.5), np.full(count, 9.0)), 1 / count, rtol=1e-12)


@pytest.mark.parametrize("difference", [0.0, 0.3, 2.0, 5.0])
@pytest.mark.parametrize("sd", [1e-4, 0.1, 1.0, 7.0, 1e4])
def test_of_two_normal_arms_the_difference_decides(difference, sd):
    # X_1 - X_0 ~ N(difference, 1 + sd²)
    second = norm.cdf(difference / np.hypot(1.0, sd))
    best = gaussian_best(np.array([0.0, difference]), np.array([1.0, sd]))
    np.testing.assert_allclose(best, [1 - second, second], atol=1e-8)


def test_where_normal_arms_lie_and_in_which_unit_does_not_matter():
    mean, sd = np.array([0.0, 0.5, -1.0]), np.array([1.0, 0.125, 2.0])  # binary fractions: shifts are exact
    best = gaussian_best(mean, sd)
    np.testing.assert_allclose(gaussian_best(mean + 2.0**30, sd), best, rtol=1e-12)
    np.testing.assert_allclose(gaussian_best(mean * 2.0**-60, sd * 2.0**-60), best, rtol=1e-12)


def test_close_arms_far_from_zero_keep_their_digits():
    # Steps of 1e-9 are lost beside 1e8 unless distances between means are taken first; 2**-26 = 1.5e-8 is kept.
    step = 2.0**-26
    best = gaussian_best(np.array([1e8, 1e8 + step]), np.array([step, step]))
    np.testing.assert_allclose(best[1], norm.cdf(1 / np.sqrt(2)), atol=1e-8)


def test_a_point_wins_wherever_all_other_arms_lie_below():
    # P(N(0, 1) < 0.5) for the point at 0.5; the point at 0.25 never wins.
    best = gaussian_best(np.array([0.0, 0.5, 0.25]), np.array([1.0, 0.0, 0.0]))
    np.testing.assert_allclose(best, [norm.sf(0.5), norm.cdf(0.5), 0.0], atol=1e-9)


def test_a_point_far_above_or_below_decides_alone():
    assert gaussian_best(np.array([0.0, 90.0]), np.array([1.0, 0.0])).tolist() == [0.0, 1.0]
    assert gaussian_best(np.array([0.0, -90.0]), np.array([1.0, 0.0])).tolist() == [1.0, 0.0]


def test_equal_points_share_equally_and_lower_ones_get_nothing():
    best = gaussian_best(np.array([1.0, 2.0, 2.0]), np.zeros(3))
    assert best.tolist() == [0.0, 0.5, 0.5]


def test_equal_points_share_what_the_other_arms_leave():
    best = gaussian_best(np.array([0.0, 0.0, 0.0]), np.array([1.0, 0.0, 0.0]))
    np.testing.assert_allclose(best, [0.5, 0.25, 0.25], atol=1e-9)


@pytest.mark.parametrize(
    ("mean", "sd"),
    [([np.nan, 0.0], [1.0, 1.0]), ([0.0, 0.0], [np.nan, 1.0]), ([np.inf, 0.0], [1.0, 1.0]), ([0.0, 0.0], [-1.0, 1.0])],
)
def test_numbers_that_are_no_normal_arm_are_refused(mean, sd):
    with np.errstate(invalid="ignore"), pytest.raises(ValueError, match="mean and sd"):
        gaussian_best(np.array(mean), np.array(sd))


def test_numbers_that_are_no_beta_arm_are_refused():
    with np.errstate(invalid="ignore"), pytest.raises(ValueError, match="alpha and beta"):
        beta_best(np.array([np.nan, 1.0]), np.array([1.0, 1.0]))


@pytest.mark.parametrize("count", [2, 5, 50])
@pytest.mark.parametrize("seed", range(4))
def test_powers_of_uniform_variables_win_in_proportion_to_their_exponents(count, seed):
    # Beta(a, 1) has the distribution function t**a, so P_k = ∫ a_k t**(Σa - 1) dt = a_k / Σa, for any number of arms.
    a = 10.0 ** np.random.default_rng(seed).uniform(np.log10(0.5), 6.0, count)
    np.testing.assert_allclose(beta_best(a, np.ones(count)), a / a.sum(), atol=1e-8)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ((1.0, 1.0), (1, 1.0)),
        ((3.0, 40.0), (5, 60.0)),
        ((0.5, 0.5), (2, 7.5)),
        ((0.5, 1e6), (1, 1e6)),
        ((500.0, 9500.0), (530, 9470.0)),
        ((50_000.0, 950_000.0), (50_300, 949_700.0)),
    ],
)
def test_of_two_beta_arms_the_closed_form_holds(first, second):
    expected = chance_that_second_beats_first(*first, *second)
    best = beta_best(np.array([first[0], second[0]], float), np.array([first[1], second[1]]))
    np.testing.assert_allclose(best, [1 - expected, expected], atol=1e-7)


def test_beta_arms_mirrored_at_one_half_win_as_often_as_the_others_lose():
    alpha, beta = np.array([3.0, 0.5]), np.array([900.0, 30.0])
    np.testing.assert_allclose(beta_best(alpha, beta), beta_best(beta, alpha)[::-1], atol=1e-9)


def test_beta_arms_of_billions_of_decisions_agree_with_their_normal_limit():
    # The deviation is sqrt(0.05 * 0.95 / n); skewness of order 1/sqrt(n) = 1e-5 moves the chance less than that.
    n = np.array([8e9, 6e9, 7e9])
    rate = 0.05 + np.array([0.0, 2e-6, -1e-6])
    limit = gaussian_best(rate, np.sqrt(rate * (1 - rate) / n))
    np.testing.assert_allclose(beta_best(n * rate, n * (1 - rate)), limit, atol=2e-5)


def test_nothing_is_lost_where_scales_differ_by_ten_thousand():
    best = gaussian_best(np.array([0.0, 1e-4, -1e-4]), np.array([1.0, 1e-4, 1e-4]))
    # Beside the narrow arms the wide one is above both or below both, but for 1e-3 of the time.
    assert best[0] == pytest.approx(0.5, abs=1e-3)
    # Below, the narrow ones fight it out: their difference is N(2e-4, 2e-8).
    narrow = norm.cdf(2 / np.sqrt(2))
    assert best[1] / (best[1] + best[2]) == pytest.approx(narrow, abs=1e-3)
    assert best.sum() == pytest.approx(1.0, abs=1e-15)
