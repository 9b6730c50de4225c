"""What an apprentice would have shown and earned, of logs whose truth is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pytest

from pipeline.errors import ConfigError
from pipeline.evaluate.ledger import Gathering
from pipeline.policy.figure_condition import APPRENTICE_FIGURES, parse_condition
from pipeline.policy.operations import keep_rollout, rolled_out
from pipeline.rollout.apprentice import apprentice_figures, learned_from
from pipeline.rollout.ramp import Named, next_lesson
from tests.samples import define, plain_decision, plain_policy

GREEDY = {"name": "epsilon_greedy", "epsilon": 0.1}
APPRENTICE = plain_policy(rollout={"of": "shop", "share": 0.5, "mode": "apprentice"}, algorithm=GREEDY)
POLICY = define(APPRENTICE)
ONE = 1 << POLICY.reward_exponent
HOUR_MS = 3_600_000


def lessons(count: int, chance_of_b: float, paid: dict[str, float], tag: str = "apprentice:shop") -> Gathering:
    rng = np.random.default_rng(4)
    records = []
    for number in range(count):
        arm = "b" if rng.random() < chance_of_b else "a"
        chances = {"a": 1.0 - chance_of_b, "b": chance_of_b}
        decision = plain_decision(
            f"x{number}",
            number,
            arm=arm,
            propensity=chances[arm],
            eligible=["a", "b"],
            probabilities=list(chances.values()),
            subject_hash=f"s{number}",
            guardrails=[tag],
        )
        records.append(record(number, decision, float(rng.random() < paid[arm])))
    gathering = Gathering(POLICY)
    gathering.add(records)
    return learned_from(gathering, "shop")


def record(number: int, decision: dict[str, Any], reward: float) -> dict[str, Any]:
    return {
        "action_id": f"x{number}",
        "policy": "homepage",
        "generation": 1,
        "revision": 2,
        "is_settled": True,
        "segment": "other",
        "reward": round(reward * ONE),
        "reward_exponent": POLICY.reward_exponent,
        "attribution": POLICY.statistics_hash,
        "decided_at_ms": number,
        "outcomes": [],
        "decision": orjson.dumps(decision),
        "is_erased": False,
        "undecodable": "",
    }


def figures(gathering: Gathering) -> dict[str, float | None]:
    return dict(apprentice_figures(gathering.log()[0], POLICY, HOUR_MS, np.random.default_rng(0)))


def test_an_apprentice_that_has_found_the_better_arm_gains_what_that_earns_more():
    # Shown is b in one of five, and pays .4 where a pays .1. Greedy with ε = .1 shows b in .95.
    found = figures(lessons(2_000, 0.2, {"a": 0.1, "b": 0.4}))
    assert set(found) == set(APPRENTICE_FIGURES)
    # .2 · .95 + .8 · .05; .95 · .4 + .05 · .1; that less .2 · .4 + .8 · .1
    assert found["match.value"] == pytest.approx(0.23, abs=0.03)
    assert found["value.value"] == pytest.approx(0.385, abs=0.1)
    assert found["gain.value"] == pytest.approx(0.225, abs=0.1)
    assert found["value.shown"] == pytest.approx(0.16, abs=0.05)
    assert 0.0 < found["gain.low"] < found["gain.value"] < found["gain.high"]
    assert (found["subjects"], found["decisions"], found["hours"]) == (2_000.0, 2_000.0, 1.0)


def test_an_apprentice_that_would_show_the_same_matches_and_gains_nothing():
    found = figures(lessons(2_000, 0.95, {"a": 0.1, "b": 0.4}))
    assert found["match.value"] == pytest.approx(0.95 * 0.95 + 0.05 * 0.05, abs=0.03)
    assert found["match.low"] > 0.8
    assert found["gain.low"] < 0.0 < found["gain.high"]


def test_of_a_few_subjects_nothing_is_told_and_of_none_nothing_is_asked():
    few = figures(lessons(20, 0.5, {"a": 0.0, "b": 1.0}))
    assert few["gain.low"] is None
    assert few["subjects"] == 20.0
    with pytest.raises(ConfigError, match="holds no settled decision"):
        lessons(20, 0.5, {"a": 0.0, "b": 1.0}, tag="rollout:shop").log()


def test_a_lesson_ends_with_the_mark_that_is_declared_and_starts_the_ramp():
    text = "match.low > 0.8 and subjects >= 100"
    until = Named(text, parse_condition(text, APPRENTICE_FIGURES))
    nothing = dict.fromkeys(APPRENTICE_FIGURES)
    assert next_lesson(0.5, nothing, until, 0.05)[:2] == ("wait", 0.5)
    assert next_lesson(0.5, nothing | {"match.low": 0.9, "subjects": 99.0}, until, 0.05).act == "wait"
    met = next_lesson(0.5, nothing | {"match.low": 0.9, "subjects": 100.0}, until, 0.05)
    assert met[:2] == ("graduate", 0.05)
    assert "match.low is 0.9" in met.why
    assert next_lesson(0.5, nothing | {"match.low": 0.9, "subjects": 100.0}, until, 0.05, "by hand").act == "halted"


def test_the_mark_is_read_with_the_file_and_an_applied_file_makes_no_apprentice_again():
    assert POLICY.rollout is not None
    assert POLICY.rollout.until == "gain.low > 0"
    with pytest.raises(
        ConfigError, match=r"rollout\.until: .*there is no figure 'lift\.low'; there are: decisions, gain"
    ):
        define(plain_policy(rollout={"of": "shop", "share": 0.5, "mode": "apprentice", "until": "lift.low > 0"}))
    serving, words = keep_rollout(rolled_out(POLICY, 0.05, "serve"), POLICY)
    assert serving.rollout is not None
    assert (serving.rollout.mode, serving.rollout.share) == ("serve", 0.05)
    assert any("rollout.mode stays serve" in one for one in words)
