"""Law 16: rewards times c and plus d, features stretched, features permuted: the same decisions, to the grid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pipeline.models import model_for
from pipeline.models.grid import FEATURE_BITS, Grid, reward_exponent
from pipeline.models.sums.statistics import Statistics, contributions
from pipeline.policy.parsing.parse import load_policy
from pipeline.simulate.environment import Setting
from pipeline.simulate.environments.bernoulli import Bernoulli
from pipeline.simulate.environments.linear import Linear
from pipeline.simulate.environments.segments import Segments
from pipeline.simulate.learner import Learner
from pipeline.simulate.run import Run, run
from pipeline.simulate.spec import definition_of

ARMS, D = 5, 4
SCALES = [(7.0, 0.0), (7.0, 3.0), (0.03, -0.05), (10_000.0, 0.0), (50.0, -20.0)]
STEP = 2e-3
"""Of a probability: what a reward's or a feature's step on the grid may do to it."""


def decided(seed: int = 3) -> list[tuple[np.ndarray, np.ndarray]]:
    """Give contexts within ±1, the constant first, and rewards within [0, 1], of each arm."""
    rng = np.random.default_rng(seed)
    found = []
    for arm in range(ARMS):
        X = np.column_stack((np.ones(30 + 10 * arm), rng.uniform(-1, 1, (30 + 10 * arm, D - 1))))
        weights = rng.uniform(-0.1, 0.1, D - 1)
        found.append((X, np.clip(0.5 + X[:, 1:] @ weights + 0.1 * rng.standard_normal(len(X)), 0, 1)))
    return found


def known(rows: list[tuple[np.ndarray, np.ndarray]], low: float, high: float) -> tuple[list[Statistics], Grid]:
    exponent = reward_exponent(low, high)
    sums = []
    for X, r in rows:
        grid_X = np.rint(np.ldexp(X, FEATURE_BITS)).astype(np.int16)
        sums.append(Statistics(X.shape[1], contributions(grid_X, np.rint(np.ldexp(r, exponent)).astype(np.int64))))
    return sums, Grid(exponent, (low, high))


def chances(name: str, rows: list[tuple[np.ndarray, np.ndarray]], bounds: tuple[float, float], x: Any) -> np.ndarray:
    model = model_for(name, {})
    return model.probabilities(model.posterior(*known(rows, *bounds)), x)


CONTEXTS = [np.concatenate(([1.0], x)) for x in np.random.default_rng(5).uniform(-1, 1, (12, D - 1))]


@pytest.mark.parametrize(("times", "plus"), SCALES)
def test_a_regression_decides_alike_whatever_a_reward_is_measured_in(times, plus):
    rows = decided()
    scaled = [(X, times * r + plus) for X, r in rows]
    for x in CONTEXTS:
        one = chances("auto_linear", rows, (0.0, 1.0), x)
        np.testing.assert_allclose(chances("auto_linear", scaled, (plus, plus + times), x), one, atol=STEP)


@pytest.mark.parametrize(("times", "plus"), SCALES)
def test_rates_decide_alike_whatever_a_reward_is_measured_in(times, plus):
    rows = [(X[: 6 + arm, :0], r[: 6 + arm]) for arm, (X, r) in enumerate(decided())]
    scaled = [(X, times * r + plus) for X, r in rows]
    one = chances("auto_rates", rows, (0.0, 1.0), None)
    assert 0.0 < one.max() < 1.0  # or else nothing could differ
    np.testing.assert_allclose(chances("auto_rates", scaled, (plus, plus + times), None), one, atol=STEP)


@pytest.mark.parametrize(("stretch", "shift"), [(7.0, 0.0), (0.5, 3.0), (0.1, -7.0)])
def test_a_regression_decides_alike_whatever_a_feature_is_measured_in(stretch, shift):
    def told(X: np.ndarray) -> np.ndarray:
        X = X.copy()
        X[..., 1] = stretch * X[..., 1] + shift
        return X

    rows = decided()
    for x in CONTEXTS:
        one = chances("auto_linear", rows, (0.0, 1.0), x)
        stretched = chances("auto_linear", [(told(X), r) for X, r in rows], (0.0, 1.0), told(x))
        # A tenth of a feature has a tenth of its steps: 1/400 of its deviation each.
        np.testing.assert_allclose(stretched, one, atol=10 * STEP)


def test_the_order_of_features_does_not_matter():
    rows, order = decided(), [0, 3, 1, 2]
    for x in CONTEXTS:
        one = chances("auto_linear", rows, (0.0, 1.0), x)
        permuted = chances("auto_linear", [(X[:, order], r) for X, r in rows], (0.0, 1.0), x[order])
        np.testing.assert_allclose(permuted, one, atol=1e-7)


class Rescaled:
    """An environment whose rewards and features are measured in other units."""

    def __init__(self, environment: Any, times: float, plus: float, stretch: float) -> None:
        self._environment, self._times, self._plus, self._stretch = environment, times, plus, stretch
        setting: Setting = environment.setting
        features = tuple(
            {**feature, "low": stretch * float(feature["low"]), "high": stretch * float(feature["high"])}  # type: ignore[arg-type]
            for feature in setting.features
        )
        low, high = times * setting.low + plus, times * setting.high + plus
        self.setting = replace(setting, low=low, high=high, features=features)

    def reset(self, seed: int) -> None:
        self._environment.reset(seed)

    def context(self, t: int) -> Mapping[str, object]:
        context = self._environment.context(t)
        if not self.setting.features:
            return context  # type: ignore[no-any-return]
        return {name: self._stretch * value for name, value in context.items()}

    def reward(self, t: int, arm: int) -> float:
        return float(self._times * self._environment.reward(t, arm) + self._plus)

    def best(self, t: int) -> int:
        return int(self._environment.best(t))


def played(environment: Any, definition: Any = None, decisions: int = 400) -> Run:
    environment.reset(101)
    definition = definition or definition_of("auto", environment.setting, floor=None, settle="optimistic")
    learner = Learner("auto", definition, environment.setting, np.random.default_rng((101, 1)))
    return run(environment, learner, decisions, refresh=20)


@pytest.mark.parametrize("make", [Linear, Bernoulli, Segments])
@pytest.mark.parametrize(("times", "plus", "stretch"), [(8.0, 0.0, 100.0), (7.0, 3.0, 0.01), (10_000.0, -70.0, 1.0)])
def test_a_simulated_node_decides_alike_in_any_units(make, times, plus, stretch):
    one, other = played(make()), played(Rescaled(make(), times, plus, stretch))
    np.testing.assert_allclose(other.propensities[:20], one.propensities[:20], atol=STEP)
    # Where a step of the grid once tips a draw, what is learned after it differs: seldom, and not by much.
    assert (other.arms == one.arms).mean() > 0.9


FILE = """
name = "shop"
[[arms]]
name = "arm-000"
[[arms]]
name = "arm-001"
[algorithm]
name = "auto"
[reward]
low = {low}
high = {high}
combine = "sum"
[[reward.outcomes]]
kind = "reward"
worth = 1.0
times_value = true
value_low = {low}
value_high = {high}
window = "1s"
[attribution]
settle = "optimistic"
"""


def test_a_file_with_auto_decides_alike_in_cents_and_in_euros():
    environment = Bernoulli(rates="0.3,0.2")
    one = played(environment, load_policy(FILE.format(low=0.0, high=1.0), "euros.toml"))
    cents = Rescaled(environment, 100.0, 0.0, 1.0)
    other = played(cents, load_policy(FILE.format(low=0.0, high=100.0), "cents.toml"))
    assert (one.arms == other.arms).mean() > 0.95
