"""P(an arm is the best) of Student and gamma arms against adaptive integration and against simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import gammainc, gammainccinv, gammaincinv, gammaln, stdtr, stdtrit

from pipeline.models.chances.best_gamma import gamma_best
from pipeline.models.chances.best_student import student_best
from tests.statistical.test_best_arm import (
    DRAWS,
    assert_accurate,
    assert_within_standard_errors,
    integrate,
    leave_one_out,
)

LEVELS = np.array([1e-12, 1e-9, 1e-6, 1e-4, 0.01, 0.1, 0.3, 0.5])[:, None]


def student_reference(location: np.ndarray, scale: np.ndarray, freedom: np.ndarray) -> np.ndarray:
    """Integrate over y = arcsinh(t / smallest scale), where long tails are short."""
    unit = scale.min()
    log_factor = gammaln((freedom + 1) / 2) - gammaln(freedom / 2) - 0.5 * np.log(freedom * np.pi) - np.log(scale)

    def integrand(y: float) -> np.ndarray:
        z = (unit * np.sinh(y) - location) / scale
        density = np.exp(log_factor - (freedom + 1) / 2 * np.log1p(z * z / freedom))
        return density * leave_one_out(stdtr(freedom, z)) * unit * np.cosh(y)

    reach = -stdtrit(freedom, LEVELS) * scale
    near = np.array([0.0, 0.5, 1.0, 2.0, 4.0])[:, None] * scale
    ends = np.concatenate((location + reach, location - reach, location + near, location - near))
    return integrate(integrand, np.arcsinh(ends / unit))


def gamma_reference(shape: np.ndarray, rate: np.ndarray) -> np.ndarray:
    """Integrate over y = log t."""

    def integrand(y: float) -> np.ndarray:
        t = rate * np.exp(y)
        return np.exp(shape * np.log(t) - t - gammaln(shape)) * leave_one_out(gammainc(shape, t))

    return integrate(integrand, np.log([gammaincinv(shape, LEVELS), gammainccinv(shape, LEVELS)]) - np.log(rate))


@pytest.mark.parametrize("count", [2, 3, 7])
@pytest.mark.parametrize("seed", range(8))
def test_student_arms_of_any_mix_of_scales_and_freedoms(seed, count):
    rng = np.random.default_rng(seed)
    scale = 10.0 ** rng.uniform(-3, 0, count)
    freedom = rng.choice([1.0, 1.7, 2.0, 5.0, 40.0, 1e3, 1e6], count)
    location = [np.zeros(count), rng.normal(size=count) * scale, rng.normal(size=count), 5 * scale][seed % 4]
    assert_accurate(student_best(location, scale, freedom), student_reference(location, scale, freedom))


def test_fifty_student_arms():
    rng = np.random.default_rng(9)
    arms = rng.normal(size=50) * 0.1, 10.0 ** rng.uniform(-2, -0.5, 50), rng.choice([2.0, 12.0, 300.0], 50)
    assert_accurate(student_best(*arms), student_reference(*arms))


@pytest.mark.parametrize("count", [2, 3, 7])
@pytest.mark.parametrize("seed", range(8))
def test_gamma_arms_of_any_mix_of_scales(seed, count):
    rng = np.random.default_rng(seed)
    shape = [10.0 ** rng.uniform(np.log10(0.5), 5, count), rng.choice([0.5, 1.0, 3.0], count)][seed % 2]
    mean = np.exp(rng.normal(size=count) * [0.01, 0.3, 3.0, 1.0][seed % 4])
    assert_accurate(gamma_best(shape, shape / mean), gamma_reference(shape, shape / mean))


def test_fifty_gamma_arms():
    rng = np.random.default_rng(9)
    shape = 10.0 ** rng.uniform(0, 3, 50)
    rate = shape / np.exp(rng.normal(size=50) * 0.2)
    assert_accurate(gamma_best(shape, rate), gamma_reference(shape, rate))


def test_student_arms_win_as_often_as_in_a_simulation():
    rng = np.random.default_rng(23)
    location, scale, freedom = rng.normal(size=6) * 0.3, 10.0 ** rng.uniform(-1, 0, 6), rng.uniform(1, 9, 6)
    samples = location + scale * rng.standard_t(freedom, (DRAWS, 6))
    assert_within_standard_errors(student_best(location, scale, freedom), samples)


def test_gamma_arms_win_as_often_as_in_a_simulation():
    rng = np.random.default_rng(24)
    shape = 10.0 ** rng.uniform(-0.3, 2, 6)
    rate = shape * np.exp(rng.normal(size=6) * 0.3)
    assert_within_standard_errors(gamma_best(shape, rate), rng.gamma(shape, 1 / rate, (DRAWS, 6)))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_no_number_is_refused(bad):
    one = np.ones(2)
    for arms in ((np.array([0.0, bad]), one, one), (one, np.array([1.0, bad]), one)):
        with pytest.raises(ValueError, match="location and scale"), np.errstate(invalid="ignore"):
            student_best(*arms)
    with pytest.raises(ValueError, match="shape and rate"), np.errstate(invalid="ignore"):
        gamma_best(np.array([1.0, bad]), one)
