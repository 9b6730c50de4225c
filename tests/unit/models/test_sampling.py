from __future__ import annotations

import numpy as np
import pytest

from pipeline.models.chances.best_arm import gaussian_best
from pipeline.models.chances.sampling import best_arm_by_sampling, frequencies, normal_points

SAMPLES = 2**12


def test_frequencies_are_counted_and_equal_samples_share():
    samples = np.array([[3.0, 1.0, 2.0], [5.0, 5.0, 0.0], [1.0, 1.0, 1.0], [0.0, 0.0, 9.0]])
    # Arm 0: 1 + 1/2 + 1/3 of 4; arm 1: 1/2 + 1/3; arm 2: 1/3 + 1.
    assert frequencies(samples) == pytest.approx([11 / 24, 5 / 24, 8 / 24], abs=1e-15)


def test_a_sample_that_is_nearly_the_largest_is_not():
    assert frequencies(np.array([[1.0, np.nextafter(1.0, 0.0)]])).tolist() == [1.0, 0.0]


def test_frequencies_sum_to_one_and_a_single_arm_is_certain():
    rng = np.random.default_rng(1)
    counted = best_arm_by_sampling(rng.normal(size=50), rng.normal(size=(50, 7)))
    assert abs(counted.sum() - 1.0) < 1e-12
    assert (counted >= 0.0).all()
    assert best_arm_by_sampling(np.array([3.0]), np.ones((1, 4))).tolist() == [1.0]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_no_number_is_refused(bad):
    with pytest.raises(ValueError, match="finite"):
        best_arm_by_sampling(np.array([0.0, bad]), np.eye(2))


def test_the_same_posterior_gives_the_same_bytes_and_other_arms_may_stand_in_any_order():
    rng = np.random.default_rng(2)
    mean, root = rng.normal(size=9), rng.normal(size=(9, 5))
    counted = best_arm_by_sampling(mean, root)
    assert best_arm_by_sampling(mean, root).tobytes() == counted.tobytes()
    order = rng.permutation(9)
    assert best_arm_by_sampling(mean[order], root[order]) == pytest.approx(counted[order], abs=1e-12)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("count", [2, 7, 20])
def test_independent_arms_are_counted_as_often_as_the_integral_says(seed, count):
    rng = np.random.default_rng(seed)
    mean, sd = rng.normal(size=count) * 0.3, 10.0 ** rng.uniform(-1, 0, count)
    exact = gaussian_best(mean, sd)
    standard_error = np.sqrt(exact * (1 - exact) / SAMPLES) + 1 / SAMPLES
    # Five standard errors of independent points; these are spread more evenly and are never so far.
    assert (np.abs(best_arm_by_sampling(mean, np.diag(sd)) - exact) < 5 * standard_error).all()


def test_arms_that_share_their_noise_are_ranked_by_mean_alone():
    # θ moves both arms alike, so the better mean wins in every sample; independent arms would be 0.55 to 0.45.
    shared = np.array([[1.0], [1.0]])
    assert best_arm_by_sampling(np.array([0.1, 0.0]), shared).tolist() == [1.0, 0.0]


def test_two_correlated_arms_are_counted_as_their_difference_says():
    # X1 - X2 ~ N(0.5, 1 + 1 - 2 · 0.6), so P(X1 > X2) = Φ(0.5 / sqrt(0.8)) = Φ(0.559017) = 0.711928.
    root = np.linalg.cholesky(np.array([[1.0, 0.6], [0.6, 1.0]]))
    assert best_arm_by_sampling(np.array([0.5, 0.0]), root)[0] == pytest.approx(0.711928, abs=0.003)


def test_the_points_are_spread_as_the_standard_normal_is():
    points = normal_points(6)
    assert points.shape == (SAMPLES, 6)
    assert not points.flags.writeable
    assert np.abs(points.sum(axis=0)).max() < 1e-12
    # The covariance of S independent points is off by about 1/sqrt(S) = 0.016; these are nearer.
    assert np.cov(points.T) == pytest.approx(np.eye(6), abs=0.02)
