from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from pipeline.errors import StateError
from pipeline.models import model_for
from pipeline.models.algorithms.linear_ensemble import beginnings, best_of_members
from pipeline.models.grid import Grid
from pipeline.models.sums.groups import GROUPS, MEMBERS, GroupSums, group_name, halves, weigh_groups
from pipeline.models.sums.statistics import Statistics, contributions
from pipeline.models.sums.weighted import ArmPrior, weigh

D = 4
ONE = 2**15
GRID = Grid(15)


def arm(X: np.ndarray, rewards: np.ndarray, groups: np.ndarray, prior: ArmPrior | None = None) -> GroupSums:
    """Give the sums of decisions on the grid, each in its group."""
    whole = weigh([(1.0, Statistics(D, contributions(X, rewards)))], D, 15, prior)
    parts = {group_name(g): Statistics(D, contributions(X[groups == g], rewards[groups == g])) for g in set(groups)}
    return weigh_groups([(1.0, 1.0, name, part) for name, part in sorted(parts.items())], whole, D, 15, prior)


def seen(n: int, seed: int, noise: float = 0.1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    X = rng.integers(-(2**12), 2**12 + 1, (n, D)).astype(np.int16)
    X[:, 0] = 2**12
    mean = 0.4 + X[:, 1:] @ np.array([0.2, -0.1, 0.05]) / 2**12
    rewards = np.rint((mean + rng.uniform(-noise, noise, n)) * ONE).astype(np.int64)
    return X, rewards, rng.integers(0, GROUPS, n)


@pytest.mark.parametrize("prior", [None, ArmPrior(0.3, 5.0, 0.2)])
def test_a_member_is_the_regression_on_its_half_each_decision_twice_beside_its_beginning(prior):
    X, rewards, groups = seen(60, 1)
    model = model_for("linear_ensemble", {"ridge": 2.0, "spread": 0.3})
    members = model.posterior([arm(X, rewards, groups, prior)], GRID).parameters["members"][0]
    x, r = X / 2**12, rewards / ONE
    for member, taken in enumerate(halves()):
        weights = taken[groups]
        # As least squares over rows: decisions, the prior's at x = (1, 0, 0, 0), and sqrt(λ)(θ - θ0) = 0.
        rows = [np.sqrt(weights)[:, None] * x, np.sqrt(2.0) * np.eye(D)]
        targets = [np.sqrt(weights) * r, np.sqrt(2.0) * 0.3 * beginnings(D)[member]]
        if prior is not None:
            rows.append(np.sqrt(prior.weight) * np.eye(1, D))
            targets.append(np.array([np.sqrt(prior.weight) * prior.mean]))
        theta, *_ = np.linalg.lstsq(np.concatenate(rows), np.concatenate(targets), rcond=None)
        np.testing.assert_allclose(members[member], theta, rtol=1e-9, atol=1e-12)


def test_what_members_say_spreads_as_the_regression_s_error_does():
    # Noise is uniform, of variance 0.1²/3; the ridge is negligible. Over 40 arms of the same truth, the members'
    # variance at x is on average the square of the standard error, x'(X'X)⁻¹x σ² (16 groups: sure to some 6 %).
    model = model_for("linear_ensemble", {"ridge": 1e-6, "spread": 0.0})
    x = np.array([1.0, 0.5, -0.5, 0.25])
    ratios = []
    for seed in range(40):
        X, rewards, groups = seen(1_600, seed)
        posterior = model.posterior([arm(X, rewards, groups)], GRID)
        spread = (posterior.parameters["members"][0] @ x).var()
        A = (X / 2**12).T @ (X / 2**12)
        ratios.append(spread / (x @ np.linalg.solve(A, x) * 0.01 / 3))
    assert np.mean(ratios) == pytest.approx(1.0, abs=0.2)


def test_members_that_have_seen_nothing_begin_where_the_prior_says():
    nothing = arm(np.zeros((0, D), np.int16), np.zeros(0, np.int64), np.zeros(0, np.int64))
    model = model_for("linear_ensemble", {"spread": 0.5})
    members = model.posterior([nothing], GRID).parameters["members"][0]
    np.testing.assert_allclose(members, 0.5 * beginnings(D), rtol=1e-12)


def test_beginnings_are_as_a_normal_distribution_s_and_come_in_opposites():
    points = beginnings(64)
    assert points.shape == (MEMBERS, 64)
    assert (points.mean(axis=0) == 0.0).all()
    # 15 · 64 draws: a mean square of 1 ± sqrt(2 / 960) = 0.046.
    assert (points**2).mean() == pytest.approx(1.0, abs=0.15)
    assert np.abs(points).max() > 2.5


def test_the_chance_is_counted_over_all_combinations_of_members():
    rng = np.random.default_rng(5)
    rewards = rng.normal(size=(3, 5))
    wins = np.zeros(3)
    for places in product(range(5), repeat=3):
        wins[np.argmax([rewards[k, place] for k, place in enumerate(places)])] += 1
    np.testing.assert_allclose(best_of_members(rewards), wins / 5**3, rtol=1e-12)


def test_equal_members_share():
    # Of 2 x 2 pairs: (1, 1) is shared, (1, 2) the second's, (3, 1) and (3, 2) the first's.
    np.testing.assert_allclose(best_of_members(np.array([[1.0, 3.0], [1.0, 2.0]])), [2.5 / 4, 1.5 / 4])


def test_an_arm_that_no_member_prefers_has_no_chance():
    assert best_of_members(np.array([[0.0, 1.0], [2.0, 3.0]])).tolist() == [0.0, 1.0]


def test_sums_without_groups_are_refused():
    with pytest.raises(StateError, match="wants decisions counted by group"):
        model_for("linear_ensemble", {}).posterior([Statistics.zero(D)], GRID)


def test_a_context_of_another_length_is_refused():
    nothing = arm(np.zeros((0, D), np.int16), np.zeros(0, np.int64), np.zeros(0, np.int64))
    model = model_for("linear_ensemble", {})
    with pytest.raises(ValueError, match="needs a context vector of shape"):
        model.probabilities(model.posterior([nothing], GRID), None)
