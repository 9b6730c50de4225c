"""A logistic regression that arms share by their features; against scipy it stands in tests/statistical."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

from pipeline.errors import ConfigError, StateError
from pipeline.models import model_for
from pipeline.models.grid import Grid
from pipeline.models.sums.contexts import ContextSums, context_name, weigh_contexts
from pipeline.models.sums.statistics import Statistics
from pipeline.models.sums.weighted import weigh
from tests.samples import define, logistic_policy

ONE, GRID = 2**15, Grid(15)
NAME = "logistic_hybrid_thompson"
X = np.array([1.0, 0.5])
CONTEXTS = ([2, 1], [2, -1])  # (1, ±1/2) in steps of 1/2


def arm(features: tuple[float, ...], *counts: tuple[int, int]) -> ContextSums:
    """Give an arm with features, and (decisions, successes) in each context."""
    rows = [
        (1.0, 1.0, context_name(x), Statistics(-2, np.array([n, s * ONE])))
        for x, (n, s) in zip(CONTEXTS, counts, strict=False)
    ]
    return weigh_contexts(rows, weigh((), 2, 15, None, features), 2, 1, 15)


def means(arms: list[ContextSums], **parameters: float) -> np.ndarray:
    model = model_for(NAME, parameters)
    return model.estimates(model.posterior(arms, GRID), X).mean


def test_a_new_arm_begins_at_what_arms_like_it_have_earned():
    # Arms with the feature at 1 succeed 3 times of 4, those with -1 once; nobody has tried the last two.
    good, bad = ((4_000, 3_000), (4_000, 3_000)), ((4_000, 1_000), (4_000, 1_000))
    arms = [arm((1.0,), *good), arm((1.0,), *good), arm((-1.0,), *bad), arm((-1.0,), *bad), arm((1.0,)), arm((-1.0,))]
    found = means(arms)
    # What the four are is split between what they share and their own: a new one has most of it.
    assert found[4] == pytest.approx(0.75, abs=0.05)
    assert found[5] == pytest.approx(0.25, abs=0.05)


def test_with_much_of_its_own_an_arm_is_what_it_has_earned_itself():
    crowd = [arm((1.0,), (4_000, 3_000), (4_000, 3_000))] * 3
    strange = arm((1.0,), (400_000, 40_000), (400_000, 40_000))
    assert means([*crowd, strange])[3] == pytest.approx(0.1, abs=0.001)


def test_a_large_own_ridge_leaves_the_shared_model_alone():
    arms = [arm((), (300, 60), (100, 50)), arm((), (100, 60), (500, 50))]
    alone = model_for("logistic_thompson", {"ridge": 0.3})
    together = arm((), (400, 120), (600, 100))
    expected = alone.estimates(alone.posterior([together], GRID), X).mean[0]
    np.testing.assert_allclose(means(arms, ridge_shared=0.3, ridge_own=1e4), expected, rtol=1e-2)


def test_a_large_shared_ridge_leaves_each_arm_alone():
    arms = [arm((), (300, 60), (100, 50)), arm((), (100, 60), (500, 50))]
    alone = model_for("logistic_thompson", {"ridge": 3.0})
    expected = alone.estimates(alone.posterior(arms, GRID), X).mean
    np.testing.assert_allclose(means(arms, ridge_shared=1e6, ridge_own=3.0), expected, rtol=1e-4)


def test_arms_that_always_succeed_and_never_do_not_run_away():
    arms = [arm((1.0,), (2**33 - 1, 2**33 - 1)), arm((-1.0,), (2**33 - 1, 0)), arm((0.0,), (1, 1))]
    found = model_for(NAME, {}).posterior(arms, GRID)
    assert all(np.isfinite(array).all() for array in found.arrays().values())
    # The slope is 0 at the mode: what is left of the first arm's is what its priors take.
    chances = means(arms)
    assert chances[0] > 0.999
    assert chances[1] < 0.001
    assert expit(0.0) < chances[2] < 1.0


def test_sharpness_narrows_the_choice_and_leaves_the_estimate():
    arms = [arm((), (100, 60), (100, 60)), arm((), (100, 50), (100, 50))]
    chances = []
    for sharpness in (1.0, 9.0):
        model = model_for(NAME, {"sharpness": sharpness})
        posterior = model.posterior(arms, GRID)
        chances.append(model.probabilities(posterior, X)[0])
    assert 0.5 < chances[0] < chances[1] < 1.0


def test_sums_that_were_not_told_apart_are_refused():
    with pytest.raises(StateError, match="wants decisions counted by context"):
        model_for(NAME, {}).posterior([Statistics.zero(2)], GRID)


def test_candidates_are_refused_since_contexts_are_counted_by_arm():
    policy = logistic_policy(candidates={"features": ["price"]})
    policy["algorithm"] = {"name": NAME}
    policy["arms"] = [{"name": name, "features": {"price": 0.5}} for name in "ab"]
    with pytest.raises(ConfigError, match="counts the contexts of each arm; choose one of hybrid_thompson, hybrid_ucb"):
        define(policy)
