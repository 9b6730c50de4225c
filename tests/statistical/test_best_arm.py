"""P(an arm is the best) against adaptive integration and against simulation, over ordinary and nasty arms."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad_vec
from scipy.special import betainc, betaincc, betaincinv, betaln, expit, ndtr

from pipeline.models.chances.best_arm import beta_best, gaussian_best

ACCURACY = 1e-6  # what is promised; measured at these arms: better than 1e-8
DRAWS = 200_000
STANDARD_ERRORS = 5.0


def integrate(integrand, breaks: np.ndarray) -> np.ndarray:
    """Integrate adaptively, piece by piece: an arm's peak can't hide between two evaluations."""
    pieces = pairwise(np.unique(breaks).tolist())
    return sum(quad_vec(integrand, a, b, epsabs=1e-11, epsrel=1e-8, quadrature="gk21")[0] for a, b in pieces)


def leave_one_out(cdf: np.ndarray) -> np.ndarray:
    """Return each arm's product of the other arms' distribution functions."""
    before = np.concatenate(([1.0], cdf[:-1])).cumprod()
    after = np.concatenate(([1.0], cdf[:0:-1])).cumprod()[::-1]
    return before * after


def gaussian_reference(mean: np.ndarray, sd: np.ndarray) -> np.ndarray:
    def integrand(t: float) -> np.ndarray:
        z = (t - mean) / sd
        return np.exp(-z * z / 2) / (sd * np.sqrt(2 * np.pi)) * leave_one_out(ndtr(z))

    return integrate(integrand, np.add.outer(np.arange(-9, 10, 1.5), mean / sd) * sd)


def beta_reference(alpha: np.ndarray, beta: np.ndarray) -> np.ndarray:
    """Integrate over y = log(t / (1 - t)), where t**(α - 1) (1 - t)**(β - 1) dt is t**α (1 - t)**β dy."""

    def integrand(y: float) -> np.ndarray:
        log_density = -alpha * np.logaddexp(0, -y) - beta * np.logaddexp(0, y) - betaln(alpha, beta)
        # Above one half the mirror image: t itself runs out of digits near 1.
        cdf = betainc(alpha, beta, expit(y)) if y < 0 else betaincc(beta, alpha, expit(-y))
        return np.exp(log_density) * leave_one_out(cdf)

    levels = np.array([1e-14, 1e-11, 1e-8, 1e-5, 1e-3, 0.05, 0.3])[:, None]
    low, high = betaincinv(alpha, beta, levels), betaincinv(beta, alpha, levels)
    return integrate(integrand, np.stack((np.log(low) - np.log1p(-low), np.log1p(-high) - np.log(high))))


def nasty_gaussians(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    sd = 10.0 ** rng.uniform(-4, 0, count)
    mean = [
        np.zeros(count),  # all centred alike, scales far apart
        rng.normal(size=count) * sd,  # overlapping on every scale
        rng.normal(size=count),  # far apart
        rng.uniform(3, 6.5, count) * rng.choice([-1, 1], count) * sd,  # touching by the tails
        -6.2 * sd + rng.normal(size=count) * 1e-3,  # upper or lower ends all about 0
    ][seed % 5]
    return mean, sd


def nasty_betas(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    anything = 10.0 ** rng.uniform(np.log10(0.5), 6, (2, count))
    n = 10.0 ** rng.uniform(1, 6, count)
    rate = np.clip(0.05 + 0.3 * rng.normal(size=count) / np.sqrt(n), 0.001, 0.999)
    return [
        (anything[0], anything[1]),
        (n * rate + 0.5, n * (1 - rate) + 0.5),
        (np.full(count, 0.5), anything[1]),
        (anything[0], np.full(count, 0.5)),
        (rng.choice([0.5, 1e6], count), rng.choice([0.5, 1e6], count)),
    ][seed % 5]


def assert_accurate(best: np.ndarray, reference: np.ndarray) -> None:
    assert reference.sum() == pytest.approx(1.0, abs=1e-8), "the reference itself is off"
    assert best.sum() == pytest.approx(1.0, abs=1e-14)
    assert (best >= 0).all()
    assert np.abs(best - reference).max() < ACCURACY


@pytest.mark.parametrize("count", [2, 3, 7])
@pytest.mark.parametrize("seed", range(10))
def test_normal_arms_of_any_mix_of_scales(seed, count):
    mean, sd = nasty_gaussians(seed, count)
    assert_accurate(gaussian_best(mean, sd), gaussian_reference(mean, sd))


@pytest.mark.parametrize("seed", range(5))
def test_fifty_normal_arms_of_any_mix_of_scales(seed):
    mean, sd = nasty_gaussians(seed, 50)
    assert_accurate(gaussian_best(mean, sd), gaussian_reference(mean, sd))


@pytest.mark.parametrize("count", [2, 3, 7])
@pytest.mark.parametrize("seed", range(10))
def test_beta_arms_of_any_mix_of_scales(seed, count):
    alpha, beta = nasty_betas(seed, count)
    assert_accurate(beta_best(alpha, beta), beta_reference(alpha, beta))


@pytest.mark.parametrize("seed", range(5))
def test_fifty_beta_arms_of_any_mix_of_scales(seed):
    alpha, beta = nasty_betas(seed, 50)
    assert_accurate(beta_best(alpha, beta), beta_reference(alpha, beta))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(-8, 8), st.floats(-4, 0), st.floats(-4, 0)), min_size=2, max_size=5))
def test_normal_arms_that_hypothesis_thinks_of(arms):
    z, log_offset, log_sd = np.array(arms).T
    mean, sd = z * 10.0**log_offset, 10.0**log_sd
    assert_accurate(gaussian_best(mean, sd), gaussian_reference(mean, sd))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(np.log10(0.5), 6), st.floats(np.log10(0.5), 6)), min_size=2, max_size=5))
def test_beta_arms_that_hypothesis_thinks_of(arms):
    alpha, beta = 10.0 ** np.array(arms).T
    alpha, beta = np.clip(alpha, 0.5, 1e6), np.clip(beta, 0.5, 1e6)
    assert_accurate(beta_best(alpha, beta), beta_reference(alpha, beta))


def assert_within_standard_errors(best: np.ndarray, samples: np.ndarray) -> None:
    """Compare with how often each column of (DRAWS, K) samples is the largest."""
    counted = np.bincount(samples.argmax(axis=1), minlength=len(best)) / DRAWS
    error = np.sqrt(best * (1 - best) / DRAWS) + 1 / DRAWS
    assert (np.abs(counted - best) < STANDARD_ERRORS * error).all()


def test_normal_arms_win_as_often_as_in_a_simulation():
    rng = np.random.default_rng(21)
    mean, sd = rng.normal(size=10) * 0.5, 10.0 ** rng.uniform(-2, 0, 10)
    assert_within_standard_errors(gaussian_best(mean, sd), rng.normal(mean, sd, (DRAWS, 10)))


def test_beta_arms_win_as_often_as_in_a_simulation():
    rng = np.random.default_rng(22)
    n = 10.0 ** rng.uniform(1, 4, 10)
    alpha, beta = 0.1 * n + 0.5, 0.9 * n + 0.5
    assert_within_standard_errors(beta_best(alpha, beta), rng.beta(alpha, beta, (DRAWS, 10)))
