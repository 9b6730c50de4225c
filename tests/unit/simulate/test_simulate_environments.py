"""What holds of every environment; and what each of them promises beside."""
# ruff: noqa: ARG002  a stand-in need not look at all it is asked

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import ConfigError
from pipeline.simulate.environment import Changing, Delaying, Environment, Expecting, Timed
from pipeline.simulate.environments import ENVIRONMENTS
from pipeline.simulate.environments.bernoulli import Bernoulli
from pipeline.simulate.environments.classification import Classification
from pipeline.simulate.environments.delayed import DAY_MS, HOUR_MS, LONGEST_MS, RATES, Delayed
from pipeline.simulate.environments.replay import OpenBandit
from pipeline.simulate.environments.switching import Switching
from pipeline.simulate.environments.tape import BLOCK, Tape
from pipeline.simulate.environments.wheel import Wheel
from pipeline.simulate.named import environment_for
from pipeline.simulate.setting import definition_for
from pipeline.simulate.spec import suitable
from tests.open_bandit import uniform_rows, write_rows

OF_DATA = {"table", "digits", "open-bandit"}
STEPS = (0, 1, 2, 999, 1_024, 2_500, 7)


def make(name: str, tmp_path: Path) -> Environment:
    if name == "table":
        file = tmp_path / "flowers.csv"
        rng = np.random.default_rng(1)
        rows = [f"{rng.random()},7,{rng.random()},{'ab'[i % 2]}" for i in range(50)]
        file.write_text("\n".join(["x,same,y,label", *rows]), "utf-8")
        return environment_for("table", {"data": str(file)})
    if name == "open-bandit":
        folder = write_rows(tmp_path / "log", uniform_rows(300, [0.1, 0.9], seed=1))
        return environment_for("open-bandit", {"data": str(folder)})
    return environment_for(name, {})


@pytest.fixture(params=[*sorted(set(ENVIRONMENTS) - OF_DATA), "table", "open-bandit"])
def environment(request: pytest.FixtureRequest, tmp_path: Path) -> Environment:
    return make(request.param, tmp_path)


@pytest.fixture(params=sorted(set(ENVIRONMENTS) - OF_DATA - {"classification"}))
def expecting(request: pytest.FixtureRequest, tmp_path: Path) -> Environment:
    made = make(request.param, tmp_path)
    assert isinstance(made, Expecting)
    return made


def answers(environment: Environment, steps: tuple[int, ...]) -> dict[int, tuple[object, ...]]:
    arms = range(len(environment.setting.arms))
    return {
        t: (dict(environment.context(t)), environment.best(t), [environment.reward(t, arm) for arm in arms])
        for t in steps
    }


def test_the_same_seed_gives_the_same_answers_in_whatever_order_they_are_asked_for(environment):
    environment.reset(5)
    before = answers(environment, STEPS)
    environment.reset(6)
    other = answers(environment, STEPS)
    environment.reset(5)
    assert answers(environment, STEPS[::-1]) == before
    assert other != before


def test_an_algorithm_suits_it_and_its_contexts_can_be_encoded(environment):
    algorithms = suitable(environment.setting)
    assert algorithms
    definition = definition_for(environment.setting, algorithms[0], {})
    _, errors = definition.features.encode_many([environment.context(t) for t in range(200)])
    assert not any(errors)
    segments = {definition.segments.segment_for(environment.context(t)) for t in range(200)}
    assert definition.segments.default not in segments or len(segments) == 1


def test_rewards_lie_within_its_bounds(environment):
    setting = environment.setting
    rewards = [environment.reward(t, arm) for t in range(300) for arm in range(len(setting.arms))]
    assert all(reward is None or setting.low <= reward <= setting.high for reward in rewards)


def test_the_best_arm_is_the_one_with_the_largest_mean_on_offer(expecting):
    for t in range(0, 3_000, 37):
        offered = expecting.eligible(t) if isinstance(expecting, Changing) else range(len(expecting.setting.arms))
        means = [expecting.mean(t, arm) for arm in offered]
        assert expecting.mean(t, expecting.best(t)) == max(means)
        assert expecting.best(t) in offered


def test_rewards_come_to_their_expectation(expecting):
    found = np.array([[expecting.reward(t, 1), expecting.mean(t, 1)] for t in range(2_000)])
    rest = found[:, 0] - found[:, 1]
    assert abs(rest.mean()) < 4 * rest.std() / np.sqrt(len(rest)) + 1e-9


def test_a_tape_repeats_neither_itself_nor_another():
    tapes = [Tape(1, 0, 2), Tape(1, 1, 2), Tape(2, 0, 2)]
    draws = [value for tape in tapes for t in range(3 * BLOCK) for value in tape.row(t).tolist()]
    assert len(set(draws)) == len(draws)


def test_the_seed_deals_the_rates_to_the_arms():
    environment = Bernoulli("0.1,0.2,0.9")
    best = set()
    for seed in range(20):
        environment.reset(seed)
        best.add(environment.best(0))
        assert sorted(environment.mean(0, arm) for arm in range(3)) == [0.1, 0.2, 0.9]
    assert best == {0, 1, 2}


def test_the_wheel_pays_where_it_should():
    environment = Wheel(delta=0.5)
    for t in range(500):
        context = environment.context(t)
        x, y = context["x0"], context["x1"]
        if x * x + y * y <= 0.25:
            assert environment.best(t) == 0
        else:
            assert environment.best(t) == (1 if y >= 0 else 4) if x >= 0 else (2 if y >= 0 else 3)
            assert environment.mean(t, environment.best(t)) == pytest.approx(50 / 51)
    # The disc within half the radius is a quarter of the whole.
    share = np.mean([environment.best(t) == 0 for t in range(4_000)])
    assert share == pytest.approx(0.25, abs=4 * np.sqrt(0.25 * 0.75 / 4_000))


def test_switching_changes_all_rates_at_once_and_nothing_between():
    environment = Switching(arms=3, every=100)
    rates = [tuple(environment.mean(t, arm) for arm in range(3)) for t in range(300)]
    assert len(set(rates[:100])) == len(set(rates[100:200])) == 1
    assert len(set(rates)) == 3


def test_conversions_come_within_an_hour_and_a_day_as_often_as_in_display_advertising():
    environment = Delayed()
    assert isinstance(environment, Delaying)
    assert isinstance(environment, Timed)
    delays = np.array([[environment.delay_ms(t, arm) for arm in range(5)] for t in range(4_000)])
    assert (delays > 0).all()
    assert (delays <= LONGEST_MS).all()
    # Weighted by rate: 0.12 · 0.15 + 0.10 · 0.55 + 0.08 · 0.35 + 0.08 · 0.55 + 0.06 · 0.15 = 0.154 of 0.44 is 35 %.
    ordered = [arm for _, arm in sorted((-environment.mean(0, arm), arm) for arm in range(5))]
    weights = np.array([environment.mean(0, arm) for arm in range(5)]) / sum(RATES)
    assert ordered[0] == environment.best(0)
    assert (delays <= HOUR_MS).mean(axis=0) @ weights == pytest.approx(0.35, abs=0.02)
    assert (delays <= DAY_MS).mean(axis=0) @ weights == pytest.approx(0.50, abs=0.02)
    assert environment.at_ms(9_999) < 90 * DAY_MS


def test_any_data_set_is_a_bandit_whose_right_class_pays():
    X = np.array([[0.0, 5.0], [1.0, 5.0], [2.0, 5.0]])
    environment = Classification(X, ["b", "a", "b"])
    # The column that never changes says nothing, and can't be scaled.
    assert [feature["name"] for feature in environment.setting.features] == ["x0"]
    assert environment.setting.arms == ("class-000", "class-001")
    for t in range(6):
        label = 0 if environment.context(t)["x0"] == 1.0 else 1
        assert [environment.reward(t, arm) for arm in range(2)] == [float(arm == label) for arm in range(2)]


def test_of_a_log_only_what_it_showed_is_known(tmp_path: Path):
    rows = [(0, 1, 1, 0.5), (1, 2, 0, 0.5)] * 50
    environment = OpenBandit(str(write_rows(tmp_path / "log", rows)))
    for t in range(100):
        shown = environment.context(t)["position"] - 1
        assert environment.reward(t, shown) == (1.0 if shown == 0 else 0.0)
        assert environment.reward(t, 1 - shown) is None
        assert environment.best(t) is None


def test_a_log_that_was_not_drawn_uniformly_is_thinned_to_one_that_could_have_been(tmp_path: Path):
    # Item 0 was shown with 0.8, item 1 with 0.2: a quarter of the former's rows are kept, and all of the latter's.
    rows = [(0, 1, 0, 0.8)] * 800 + [(1, 1, 0, 0.2)] * 200
    environment = OpenBandit(str(write_rows(tmp_path / "log", rows)))
    kept = [sum(environment.reward(t, arm) is not None for t in range(1_000)) for arm in (0, 1)]
    assert kept[1] == 200
    assert kept[0] == pytest.approx(200, abs=4 * np.sqrt(800 * 0.25 * 0.75))


class Mine:
    """An environment of a user's own."""

    def __init__(self, rate: float = 0.5) -> None:
        self._rate = rate
        self.setting = Bernoulli("0.5,0.5").setting

    def reset(self, seed: int) -> None:
        self._seed = seed

    def context(self, t: int) -> dict[str, object]:
        return {}

    def reward(self, t: int, arm: int) -> float:
        return self._rate

    def best(self, t: int) -> int:
        return 0


def test_an_environment_of_ones_own_is_found_by_module_and_class():
    found = environment_for(f"{__name__}:Mine", {"rate": "0.75"})
    assert found.reward(0, 0) == 0.75


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("nowhere", {}, "none of bernoulli, .* write module:Class"),
        ("no.such.module:Thing", {}, "can't be loaded"),
        (f"{__name__}:Nothing", {}, "can't be loaded"),
        ("builtins:object", {}, "has no setting, reset, context, reward, best"),
        ("wheel", {"size": "1"}, "has no option 'size'; it has delta, decisions"),
        ("wheel", {"delta": "2"}, r"delta lies in \[0, 1\]"),
        ("wheel", {"delta": "wide"}, "could not convert"),
        ("table", {"data": "nowhere.csv"}, "can't be read"),
    ],
)
def test_what_is_no_environment_is_refused_in_words(name, options, words):
    with pytest.raises(ConfigError, match=words):
        environment_for(name, options)
