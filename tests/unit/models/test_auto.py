from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import multivariate_normal

from pipeline.models.algorithms.auto_linear import AutoLinear
from pipeline.models.algorithms.auto_rates import AutoRates
from pipeline.models.chances.lookahead import spread_ahead
from pipeline.models.grid import FEATURE_BITS, Grid
from pipeline.models.model import Posterior
from pipeline.models.regressions.standardised import _evidenced, _moments, standardised_posterior
from pipeline.models.sums.statistics import Statistics, contributions

GRID = Grid(15, (0.0, 1.0))
ONE = 2**15


def tried(wins: int, n: int) -> Statistics:
    rewards = np.repeat([ONE, 0], [wins, n - wins])
    return Statistics(0, contributions(np.zeros((n, 0), np.int16), rewards))


# What an index would name over the decisions to come.


def test_decisions_ahead_are_spread_as_if_each_came_out_as_expected():
    mean, deviation, leverage, ahead = np.array([0.5, 0.49, 0.1]), np.full(3, 0.3), np.array([0.05, 0.08, 0.02]), 200
    # One after the other, by the index; leverage / (1 + j leverage) is what j more of the same leave of it.
    j = np.zeros(3)
    for _ in range(ahead):
        j[(mean + deviation * np.sqrt(leverage / (1 + j * leverage))).argmax()] += 1
    np.testing.assert_allclose(spread_ahead(mean, deviation, leverage, ahead), j / ahead, atol=1.5 / ahead)
    assert j[2] == 0


def test_an_arm_that_no_decision_ahead_can_catch_up_with_is_certain():
    weights = spread_ahead(np.array([0.9, 0.1]), np.full(2, 0.1), np.full(2, 0.01), 20.0)
    assert weights.tolist() == [1.0, 0.0]


def test_one_decision_ahead_is_the_index_and_many_are_the_mean():
    mean, deviation, leverage = np.array([0.5, 0.49]), np.full(2, 0.3), np.array([0.1, 0.1])
    soon, later, at_last = (spread_ahead(mean, deviation, leverage, ahead)[0] for ahead in (0.01, 20.0, 1e6))
    assert soon == 1.0
    assert 0.5 < later < 0.7
    assert at_last > 0.99


def test_widths_below_the_last_digit_of_a_mean_name_the_best():
    assert spread_ahead(np.array([1e9, 1.0]), np.full(2, 1e-12), np.zeros(2), 2.0).tolist() == [1.0, 0.0]


# The regression.


def test_regressions_noise_and_ridge_are_those_of_standardised_features():
    rng = np.random.default_rng(1)
    sums, raw = [], []
    for n in (20, 50, 80):
        X = np.column_stack((np.ones(n), np.rint(rng.uniform(-3, 5, (n, 3)) * 2**FEATURE_BITS) / 2**FEATURE_BITS))
        r = np.rint(rng.uniform(0, 1, n) * ONE) / ONE
        raw.append((X, r))
        grid_X = np.rint(X * 2**FEATURE_BITS).astype(np.int16)
        sums.append(Statistics(4, contributions(grid_X, np.rint(r * ONE).astype(np.int64))))
    found = standardised_posterior(sums, GRID)
    # The module's equations, by LAPACK and on the decisions themselves.
    everything = np.vstack([X for X, _ in raw])
    centre, scale = everything.mean(0), everything.std(0)
    centre[0], scale[0] = 0.0, 1.0
    mean = np.concatenate([r for _, r in raw]).mean()
    told = [((X - centre) / scale, r - mean) for X, r in raw]
    squares, N, ridge = sum(float(r @ r) for _, r in told), 150, 1.0
    for step in range(6):
        inverses = [np.linalg.inv(X.T @ X + np.diag([1.0, ridge, ridge, ridge])) for X, _ in told]
        thetas = [P @ X.T @ r for P, (X, r) in zip(inverses, told, strict=True)]
        unexplained = sum(float(r @ r - r @ X @ theta) for theta, (X, r) in zip(thetas, told, strict=True))
        variance = (unexplained + 0.25 + squares / N) / (N + 2)
        if step < 5:
            effective = sum(float((1 - ridge * np.diag(P)[1:]).sum()) for P in inverses)
            size = sum(float(theta[1:] @ theta[1:]) for theta in thetas)
            ridge = (effective + 0.9) / (size / variance + 0.9)
    assert found.ridge == pytest.approx(ridge, rel=1e-9)
    assert found.noise == pytest.approx(np.sqrt(variance), rel=1e-9)
    x = np.array([1.0, 2.0, -1.0, 0.5])
    for arm, (theta, P) in enumerate(zip(thetas, inverses, strict=True)):
        z = (x - centre) / scale
        assert found.theta[arm] @ x == pytest.approx(theta @ z + mean, rel=1e-9)
        assert x @ found.covariance[arm] @ x == pytest.approx(z @ P @ z, rel=1e-9)


def test_a_feature_that_never_varied_says_nothing():
    rng = np.random.default_rng(2)
    X = np.column_stack((np.full(40, 4096), np.full(40, 1234), rng.integers(-4096, 4096, 40))).astype(np.int16)
    rewards = rng.integers(0, ONE, 40)
    model = AutoLinear()
    with_it = model.posterior([Statistics(3, contributions(X, rewards))], GRID)
    assert np.isfinite(with_it.parameters["covariance"]).all()
    assert with_it.parameters["theta"][0, 1] == 0.0


def test_few_rewards_may_hide_large_ones_and_many_may_not():
    X = np.full((400, 1), 4096, np.int16)
    few, many = (Statistics(1, contributions(X[:n], np.full(n, 100))) for n in (3, 400))
    deviation = AutoLinear().posterior([few, many], GRID).parameters["deviation"]
    # V (n + 1)^-1.5 of V = 1/4: 1/32 and 1/32,128; the noise of all is below either.
    assert deviation[0] ** 2 > 1 / 32
    assert deviation[1] ** 2 < 1 / 1_000


# What no line follows: the last entries are units that bend.


def bent(n: int, seed: int, *, is_line: bool) -> list[Statistics]:
    """Give two arms' sums over (1, x, |x|): what they earn goes by x, or by |x|."""
    rng, sums = np.random.default_rng(seed), []
    for sign in (1.0, -1.0):
        x = np.rint(rng.uniform(-1, 1, n) * 4096) / 4096
        X = np.column_stack((np.ones(n), x, np.abs(x)))
        r = 0.5 + sign * (0.3 * x if is_line else 0.6 * np.abs(x) - 0.3) + 0.05 * rng.standard_normal(n)
        rewards = np.rint(r.clip(0, 1) * ONE).astype(np.int64)
        sums.append(Statistics(3, contributions(np.rint(X * 4096).astype(np.int16), rewards)))
    return sums


def test_units_that_bend_are_taken_in_where_lines_do_not_explain_what_is_earned():
    posterior = AutoLinear(1.0).posterior(bent(100, 1, is_line=False), GRID)
    assert posterior.parameters["covariance"].shape == (2, 3, 3)
    # |x| moves the arms by 0.6 and -0.6, x by nothing.
    np.testing.assert_allclose(posterior.parameters["theta"][:, 2], [0.6, -0.6], atol=0.06)
    assert posterior.shared["wide_ridge"][0] > 0.0
    assert "lines do not explain it all, and 1 units" in AutoLinear(1.0).measured(posterior)


def test_units_that_bend_are_left_out_where_lines_do_and_cost_nothing():
    sums, x = bent(100, 2, is_line=True), np.array([1.0, 0.5, 0.5])
    with_them, without = AutoLinear(1.0).posterior(sums, GRID), AutoLinear(0.0)
    assert with_them.shared["wide_ridge"].tolist() == [0.0]
    assert with_them.parameters["covariance"].shape == (2, 2, 2)
    assert with_them.parameters["theta"][:, 2].tolist() == [0.0, 0.0]
    plain = without.posterior([_some(one) for one in sums], GRID)
    np.testing.assert_array_equal(with_them.parameters["covariance"], plain.parameters["covariance"])
    np.testing.assert_array_equal(
        AutoLinear(1.0).probabilities(with_them, x), without.probabilities(plain, x[:2]), strict=True
    )
    assert "as well as 1 units" in AutoLinear(1.0).measured(with_them)


def _some(sums: Statistics) -> Statistics:
    """Leave out the last of three entries: n, Σr, Σr², b and the upper triangle of A, row by row."""
    kept = [*range(3), 3, 4, 6, 7, 9]
    return Statistics(2, sums.sums[kept])


def test_the_evidence_is_that_of_the_rewards():
    # ln N(r; 0, σ²(I + X Λ⁻¹ Xᵀ)) of each arm's decisions by scipy, and one pseudo-observation's V / 2σ² less.
    rng = np.random.default_rng(4)
    X = np.column_stack((np.ones(30), np.rint(rng.uniform(-1, 1, (30, 2)) * 4096) / 4096))
    r = np.rint(rng.uniform(0, 1, 30) * ONE) / ONE
    rewards = np.rint(r * ONE).astype(np.int64)
    moments = _moments([Statistics(3, contributions(np.rint(X * 4096).astype(np.int16), rewards))], GRID)
    told = np.column_stack((np.ones(30), (X[:, 1:] - X[:, 1:].mean(0)) / X[:, 1:].std(0)))
    found = {}
    for d, blocks in ((2, [slice(1, 2)]), (3, [slice(1, 2), slice(2, 3)])):
        one = _evidenced(moments.some(d), blocks, 0.25)
        prior = np.diag(1.0 / np.array([1.0, *one.ridges]))
        spread = one.variance * (np.eye(30) + told[:, :d] @ prior @ told[:, :d].T)
        exact = multivariate_normal(np.zeros(30), spread).logpdf(r - r.mean()) - 0.25 / (2 * one.variance)
        found[d] = one.evidence, exact
    assert found[3][0] - found[2][0] == pytest.approx(found[3][1] - found[2][1], abs=1e-8)


# The rates.


def test_the_index_is_the_largest_rate_that_divergence_leaves_possible():
    posterior = AutoRates().posterior([tried(3, 20), tried(1, 10)], GRID)
    likely = 4.5 / 31  # (4 + ½) / (30 + 1)
    np.testing.assert_allclose(posterior.parameters["mean"], [(3 + 2 * likely) / 22, (1 + 2 * likely) / 12], rtol=1e-4)
    level = np.log1p(31 / (2 * np.array([21, 11])))
    deviation = []
    for mean, n, width in zip(posterior.parameters["mean"], (20, 10), level, strict=True):
        dispersion = posterior.parameters["dispersion"][0 if n == 20 else 1]
        bound = dispersion * width / (n + 2)
        gap = lambda q, p=mean, b=bound: p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q)) - b  # noqa: E731
        deviation.append((brentq(gap, mean, 1 - 1e-12) - mean) * np.sqrt(n + 2))
    expected = spread_ahead(posterior.parameters["mean"], np.array(deviation), 1 / np.array([22.0, 12.0]), 20)
    np.testing.assert_allclose(AutoRates().probabilities(posterior, None), expected, atol=1e-6)


def shares(segments: list[list[Statistics]]) -> list[Posterior]:
    return AutoRates().posteriors(segments, GRID)


def test_segments_that_agree_count_what_the_others_have_seen():
    alike = [[tried(30, 300), tried(60, 300)] for _ in range(3)]
    for posterior in shares(alike):
        # Three times 300, but for what chance leaves of a doubt.
        assert posterior.parameters["n"].min() > 850


def test_segments_that_differ_keep_to_themselves():
    apart = shares([[tried(30, 300), tried(90, 300)], [tried(90, 300), tried(30, 300)]])
    for posterior in apart:
        assert posterior.parameters["n"].max() < 301


def test_a_segment_that_is_alone_has_nobody_to_agree_with():
    (alone,) = shares([[tried(3, 10), tried(0, 0)]])
    assert alone.parameters["n"].tolist() == [10.0, 0.0]
