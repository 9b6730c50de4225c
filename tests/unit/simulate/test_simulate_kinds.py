"""Several goals in the simulator: what comes is counted apart by kind, and weighed by the policy's own worths."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from pipeline.errors import ConfigError
from pipeline.models.sums.objectives import entries
from pipeline.publish.snapshot import segment_posteriors
from pipeline.simulate.environments.delayed import Delayed
from pipeline.simulate.environments.shop import Shop
from pipeline.simulate.learner import Learner
from pipeline.simulate.player import Choices, Moments, News
from pipeline.simulate.run import Run, run
from pipeline.simulate.spec import definition_of

DECISIONS = 300


def played(
    spec: str, *, seed: int = 1, decisions: int = DECISIONS, environment: Shop | None = None, settle: str = "optimistic"
) -> tuple[Learner, Run]:
    environment = environment or Shop()
    environment.reset(seed)
    definition = definition_of(spec, environment.setting, floor=0.0, settle=settle)
    learner = Learner(spec, definition, environment.setting, np.random.default_rng((seed, 1)))
    return learner, run(environment, learner, decisions, refresh=7)


def test_what_comes_is_counted_apart_by_kind():
    learner, done = played("gaussian_thompson")
    environment = Shop()
    environment.reset(1)
    expected: dict[str, list[int]] = {}
    for t, arm in enumerate(done.arms.tolist()):
        came = environment.outcomes(t, arm)
        # Kinds in the order of their names: click, refund, sale.
        amounts = [int(kind in came) for kind in ("click", "refund", "sale")]
        row = expected.setdefault(environment.setting.arms[arm], [0] * 9)
        for column, amount in entries(amounts, []):
            row[column] += amount
    found = {key.arm: row.sums.tolist() for key, row in learner.rows() if key.tally == "objectives"}
    assert found == expected
    assert all(row.reward_sum == 0 for key, row in learner.rows() if not key.tally)


def test_the_worths_of_the_policy_say_what_it_learns_to_show():
    # Worths of 0.1, 0.8 and -0.8 are for arm 2, clicks alone for arm 0, sales alone, whatever comes back, for arm 3.
    goals = {"": 2, ":worth.sale=0,worth.refund=0": 0, ":worth.click=0,worth.refund=0": 3}
    for worths, expected in goals.items():
        found = []
        for seed in range(4):
            _, done = played(f"gaussian_thompson{worths}", seed=seed, decisions=3_000)
            order = np.random.default_rng((seed, 0)).permutation(4)
            found.append(float((order[done.arms[-500:]] == expected).mean()))
        assert np.mean(found) > 0.5, worths


def test_other_worths_of_the_same_decisions_are_as_if_they_had_been_there_from_the_start():
    learner, done = played("gaussian_thompson")
    environment = Shop()
    environment.reset(1)
    other = definition_of(
        "gaussian_thompson:worth.click=0.5,worth.sale=0.1", environment.setting, floor=0.0, settle="optimistic"
    )
    anew = Learner("anew", other, environment.setting, np.random.default_rng(0))
    places = np.arange(DECISIONS)
    moments = Moments(places, places * 1_000, [{}] * DECISIONS, (0, 1, 2, 3))
    anew.recall(moments, Choices(done.arms, done.propensities))
    came = [environment.outcomes(t, arm) for t, arm in enumerate(done.arms.tolist())]
    first, nothing = np.ones(DECISIONS, np.bool_), np.zeros(DECISIONS)
    anew.learn(News(places, first, nothing, nothing, 0, outcomes=came))
    rows = [(key._replace(policy="x"), row) for key, row in sorted(learner.rows())]
    assert rows == [(key._replace(policy="x"), row) for key, row in sorted(anew.rows())]
    changed = replace(learner.definition, reward=other.reward)
    assert segment_posteriors(changed, rows) == segment_posteriors(other, rows)


def test_an_algorithm_that_can_t_count_kinds_apart_learns_from_their_sum():
    learner, done = played("linear_ensemble", environment=WithContext())
    environment = WithContext()
    environment.reset(1)
    earned = sum(environment.reward(t, arm) for t, arm in enumerate(done.arms.tolist()))
    sums = [row.reward_sum for key, row in learner.rows() if not key.tally]
    assert sum(sums) / 2**learner.definition.reward_exponent == pytest.approx(earned, abs=1e-2)
    groups = [row.reward_sum for key, row in learner.rows() if key.tally.startswith("group:")]
    assert sum(groups) == sum(sums)


class WithContext(Shop):
    """The same with a feature."""

    def __init__(self) -> None:
        super().__init__()
        self.setting = replace(self.setting, features=({"name": "x", "kind": "numeric", "low": -1.0, "high": 1.0},))

    def context(self, t: int) -> Mapping[str, object]:
        return {"x": (t % 3 - 1) / 2}


class Slow(Delayed):
    """Conversions that come late, of a kind that has a name."""

    def __init__(self) -> None:
        super().__init__(decisions=1_000)
        self.setting = replace(self.setting, kinds=({"kind": "sale", "worth": 0.5},))

    def outcomes(self, t: int, arm: int) -> Mapping[str, float]:
        return {"sale": 1.0} if super().reward(t, arm) else {}

    def reward(self, t: int, arm: int) -> float:
        return 0.5 * super().reward(t, arm)


@pytest.mark.parametrize("settle", ["wait", "optimistic", "delay_corrected"])
def test_late_outcomes_of_a_kind_count_when_they_come(settle):
    environment = Slow()
    environment.reset(1)
    definition = definition_of("exp3", environment.setting, floor=0.1, settle=settle)
    learner = Learner("slow", definition, environment.setting, np.random.default_rng(1))
    done = run(environment, learner, 1_000, refresh=20)
    rows = learner.rows()
    # At least of the first two thirds, whose 30 days are over, all is in; more is not.
    assert done.kinds["sale"][:600].sum() <= sum(r.sums[0] for k, r in rows if k.tally == "objectives")
    assert sum(r.sums[0] for k, r in rows if k.tally == "objectives") <= done.kinds["sale"].sum()
    delays = sum(int(r.sums.sum()) for k, r in rows if k.tally == "delay:sale")
    assert (delays > 0) == (settle == "delay_corrected")
    importance = {k.arm: r.sums for k, r in rows if k.tally == "importance"}
    assert all(len(sums) == 2 for sums in importance.values())  # 1/p, and sales by it


def test_the_run_says_how_much_of_each_kind_came():
    _, done = played("gaussian_thompson")
    assert set(done.kinds) == {"click", "sale", "refund"}
    worth = 0.1 * done.kinds["click"] + 0.8 * done.kinds["sale"] - 0.8 * done.kinds["refund"]
    np.testing.assert_allclose(worth, done.rewards)


def test_a_worth_of_no_kind_that_there_is_and_a_policy_that_lacks_one_are_refused():
    environment = Shop()
    with pytest.raises(ConfigError, match=r"worth\.tip is none of the environment's kinds: worth\.click"):
        definition_of("ucb1:worth.tip=1", environment.setting, floor=0.0, settle="optimistic")
    definition = definition_of("gaussian_thompson", environment.setting, floor=0.0, settle="optimistic")
    lacking = replace(definition, reward=replace(definition.reward, outcomes=definition.reward.outcomes[:2]))
    with pytest.raises(ConfigError, match="has no outcomes of kind sale"):
        Learner("x", lacking, environment.setting, np.random.default_rng(1))
    with pytest.raises(ValueError, match="1 at most together"):
        Shop(click=0.5, sale=0.6)
