"""Guardrails as a decision meets them: who is shown what, what is logged, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pipeline.codec import avro
from pipeline.codec.wire import decode_event
from pipeline.policy.guardrails import Switches
from pipeline.policy.parsing.parse import parse_policy
from pipeline.publish.snapshot import build_snapshot
from pipeline.serve import Decided, LoadedSnapshot, NoAnswer, decide, load_snapshot
from pipeline.serve.guardrails.chain import Exposures
from tests.unit.serve.conftest import BETA, LINEAR

CLICKS = {"news": (30, 100), "best": (40, 100), "fresh": (1, 2)}
NOW_MS = 1_700_000_000_000
DAY_MS = 86_400_000
Content = Callable[..., bytes]
Plain = dict[str, Any]


@pytest.fixture
def of(content_of: Content) -> Callable[..., LoadedSnapshot]:
    """Load a snapshot of the beta policy with some sections."""

    def build(clicks: Plain | None = None, base: Plain = BETA, **sections: Plain) -> LoadedSnapshot:
        return load_snapshot(content_of(parse_policy(base | sections, "test"), CLICKS if clicks is None else clicks))

    return build


def ask(snapshot: LoadedSnapshot, context: Plain | None = None, **others: Any) -> Decided | NoAnswer:
    named = {"eligible": None, "rng": np.random.default_rng(1), "action_id": "a1", "now_ms": NOW_MS, **others}
    return decide(snapshot, "homepage", context or {}, **named)


def answered(snapshot: LoadedSnapshot, context: Plain | None = None, **others: Any) -> Decided:
    answer = ask(snapshot, context, **others)
    assert isinstance(answer, Decided)
    decision = answer.decision
    assert decision.propensity == answer.probabilities[decision.arm]
    assert sum(decision.probabilities) == pytest.approx(1.0, abs=1e-9)
    # JOIN reads what is logged.
    assert decode_event(avro.encode("decision", decision._asdict()), "decision", {})
    return answer


def showing(counts: Plain, window_ms: int = DAY_MS, until_ms: int = NOW_MS) -> tuple[Exposures, ...]:
    return (Exposures(window_ms, until_ms, {"old": 0, **counts}),)


# Eligibility.

RULES = {"eligibility": [{"arms": ["best"], "only_when": {"age": {"at_least": 18}}}]}


def test_an_arm_that_a_rule_refuses_is_not_among_the_eligible(of):
    snapshot = of(guardrails=RULES)
    assert set(answered(snapshot, {"age": 30.0}).probabilities) == {"best", "fresh", "news"}
    young = answered(snapshot, {"age": 7.0})
    assert set(young.probabilities) == {"fresh", "news"}
    assert young.decision.guardrails == ("eligibility",)
    assert young.reason == "policy"


def test_a_refused_arm_is_not_shown_even_if_nothing_else_may_be(of):
    answer = ask(of(guardrails=RULES), {"age": 7.0}, eligible=["best"])
    assert isinstance(answer, NoAnswer)
    assert answer.reason == "no-eligible-arm"
    assert "refused by the policy's rules" in answer.detail


def test_a_fallback_is_under_the_rules_too(of):
    answer = answered(of(base=LINEAR, guardrails=RULES), {"age": "?"})
    assert answer.fallback == "unencodable-context"
    assert answer.probabilities == {"fresh": 0.5, "news": 0.5}


# Floors.

SURE = {"best": (9_000, 10_000), "news": (10, 10_000), "fresh": (1, 10)}


def test_arms_and_segments_have_floors_of_their_own(of):
    floors = {"floor": 0.05, "arms": {"news": 0.2}, "segments": {"premium": 0.1}}
    snapshot = of(SURE, exploration=floors)
    # The best arm is certain but for the floors: 1 - 0.2 - 0.05.
    assert answered(snapshot).probabilities == pytest.approx({"best": 0.75, "fresh": 0.05, "news": 0.2}, abs=1e-6)
    # No data in premium: a third of what the floors leave for each.
    rest = (1 - 0.2 - 0.1 - 0.1) / 3
    premium = answered(snapshot, {"premium": True}).probabilities
    assert premium == pytest.approx({"best": 0.1 + rest, "fresh": 0.1 + rest, "news": 0.2 + rest}, abs=1e-6)


def test_a_share_of_all_arms_falls_as_they_are_tried(of):
    # best and news have ten thousand decisions, fresh ten: of their thirds of 0.03 a tenth, a tenth, and 5/10.
    answer = answered(of(SURE, exploration={"share": 0.03}))
    assert answer.probabilities["news"] == pytest.approx(0.001, abs=1e-6)
    assert answer.probabilities["fresh"] >= 0.005
    assert answer.decision.guardrails == ()


def test_a_new_arm_has_a_raised_floor_until_enough_is_known_of_it(of):
    raised = {"floor": 0.05, "new_arms": {"floor": 0.25, "until": 11}}
    answer = answered(of(SURE, exploration=raised))
    assert answer.probabilities == pytest.approx({"best": 0.7, "fresh": 0.25, "news": 0.05}, abs=1e-4)
    assert answer.decision.guardrails == ("new-arms",)
    known = answered(of(SURE | {"fresh": (1, 11)}, exploration=raised))
    assert known.probabilities == pytest.approx({"best": 0.9, "fresh": 0.05, "news": 0.05}, abs=1e-4)
    assert known.decision.guardrails == ()


def test_raised_floors_that_do_not_fit_are_shared_out(of):
    # In premium all three are new: 3 · 0.6 does not fit, a third each does.
    answer = answered(of(SURE, exploration={"new_arms": {"floor": 0.6, "until": 11}}), {"premium": True})
    assert list(answer.probabilities.values()) == pytest.approx([1 / 3] * 3)


# Holdout.

HOLDOUT = {"control": "news", "holdout": {"share": 0.2}}


def groups(snapshot: LoadedSnapshot, **others: Any) -> dict[str, str]:
    return {f"s{i}": answered(snapshot, subject_hash=f"s{i}", **others).reason for i in range(2_000)}


def test_a_share_of_subjects_gets_the_control_arm_and_always_the_same_ones(of):
    snapshot = of(guardrails=HOLDOUT)
    first = groups(snapshot)
    # Five standard errors: 5 · sqrt(0.16 / 2000) = 0.045.
    assert Counter(first.values())["holdout"] / 2_000 == pytest.approx(0.2, abs=0.045)
    assert groups(snapshot, action_id="another") == first
    held = answered(snapshot, subject_hash=next(one for one, reason in first.items() if reason == "holdout"))
    assert held.probabilities == {"best": 0.0, "fresh": 0.0, "news": 1.0}
    assert (held.arm, held.propensity, held.decision.guardrails) == ("news", 1.0, ("holdout",))
    assert held.fallback is None


def test_who_is_held_out_does_not_depend_on_what_else_is_amiss(of):
    sound = groups(of(base=LINEAR, guardrails=HOLDOUT), context={"age": 3.0, "device": "mobile"})
    broken = groups(of(base=LINEAR, guardrails=HOLDOUT), context={"age": "?"})
    killed = groups(of(guardrails=HOLDOUT), switches=Switches(is_killed=True))
    held = {one for one, reason in sound.items() if reason == "holdout"}
    assert held
    for other in (broken, killed):
        assert {one for one, reason in other.items() if reason == "holdout"} == held
        assert set(other.values()) == {"holdout", "fallback"}


def test_without_a_control_the_holdout_is_uniform_without_any_guardrail_on_it(of):
    rails = {"holdout": {"share": 0.999}, "caps": [{"arm": "best", "share": 0.1, "window": "1d"}]}
    answer = answered(of(guardrails=rails, exploration={"arms": {"news": 0.5}}))
    assert answer.reason == "holdout"
    assert list(answer.probabilities.values()) == [1 / 3] * 3
    kept = answered(of(guardrails=rails | {"control": "news"}), eligible=["best", "fresh"])
    assert kept.probabilities == {"best": 0.5, "fresh": 0.5}


def test_without_a_subject_each_action_is_held_out_by_itself(of):
    snapshot = of(guardrails=HOLDOUT)
    reasons = Counter(answered(snapshot, action_id=f"a{i}").reason for i in range(2_000))
    assert reasons["holdout"] / 2_000 == pytest.approx(0.2, abs=0.045)


# Kill switches and staleness.


def test_a_killed_arm_is_not_shown_whether_the_snapshot_or_the_node_knows_it(of):
    by_definition = answered(of(killed={"arms": ["best"]}))
    by_node = answered(of(), switches=Switches(arms=("best",)))
    assert by_definition.probabilities == by_node.probabilities
    assert set(by_node.probabilities) == {"fresh", "news"}
    assert by_node.decision.guardrails == by_definition.decision.guardrails == ("killed-arms",)


def test_a_switch_that_the_node_knows_to_be_lifted_is_lifted(of):
    assert "best" in answered(of(killed={"arms": ["best"], "policy": True}), switches=Switches()).probabilities


def test_a_list_of_killed_arms_leaves_nothing_to_show(of):
    for listed in (["best"], ["best", "old"]):
        answer = ask(of(killed={"arms": ["best"]}), eligible=listed)
        assert isinstance(answer, NoAnswer)
        assert f"{len(listed)} of its arms are retired or killed" in answer.detail
    answer = ask(of(killed={"arms": ["best", "fresh", "news"]}))
    assert isinstance(answer, NoAnswer)
    assert "every arm is killed" in answer.detail


def test_a_killed_policy_shows_its_control_or_any_arm(of):
    answer = answered(of(guardrails={"control": "fresh"}, killed={"policy": True}))
    assert (answer.arm, answer.propensity, answer.fallback, answer.reason) == ("fresh", 1.0, "killed", "fallback")
    uniform = answered(of(killed={"policy": True}))
    assert list(uniform.probabilities.values()) == [1 / 3] * 3


def test_a_stale_snapshot_is_not_asked(of):
    snapshot = of(guardrails={"stale_after": "1h", "control": "news"})
    assert answered(snapshot, age_ms=3_599_999).reason == "policy"
    stale = answered(snapshot, age_ms=3_600_000)
    assert (stale.fallback, stale.arm, stale.propensity) == ("stale-snapshot", "news", 1.0)
    assert answered(of(), age_ms=10**12).reason == "policy"  # without the guardrail the last one is good for ever


# Frequency.


def test_what_a_subject_saw_too_often_is_left_out_while_there_is_something_else(of):
    answer = answered(of(), worn=["best", "news"])
    assert answer.probabilities == {"fresh": 1.0}
    assert answer.decision.guardrails == ("frequency",)
    lifted = answered(of(), worn=["best", "news", "fresh"])
    assert len(lifted.probabilities) == 3
    assert lifted.decision.guardrails == ("frequency-lifted",)


# Diversity, budget, caps.


def test_no_arm_has_it_all_where_diversity_is_asked_for(of):
    answer = answered(of(SURE, guardrails={"diversity": 2}, exploration={"floor": 0.0}))
    p = np.array(answer.decision.probabilities)
    assert 1 / (p @ p) == pytest.approx(2.0, abs=1e-6)
    assert answer.decision.guardrails == ("diversity",)
    assert answered(of(guardrails={"diversity": 1.0001})).decision.guardrails == ()


CAPS = {"caps": [{"arm": "best", "share": 0.3, "window": "1d"}]}


def test_an_arm_at_its_cap_is_drawn_by_its_floor_alone(of):
    snapshot = of(SURE, guardrails=CAPS)
    at_cap = replace(snapshot, exposures=showing({"best": 300, "fresh": 0, "news": 700}))
    # 0.05 for best; the other 0.95 as 0.05 to 0.05.
    answer = answered(at_cap)
    assert answer.probabilities == pytest.approx({"best": 0.05, "fresh": 0.475, "news": 0.475}, abs=1e-4)
    assert answer.decision.guardrails == ("cap:best",)
    below = replace(snapshot, exposures=showing({"best": 100, "fresh": 0, "news": 900}))
    assert answered(below).probabilities["best"] == pytest.approx(0.9, abs=1e-6)
    assert answered(below).decision.guardrails == ()


def test_a_cap_whose_reports_are_late_is_kept_by_every_decision(of):
    late = replace(of(SURE, guardrails=CAPS), exposures=showing({"best": 0, "fresh": 0, "news": 9}))
    # A tenth of a day, less the attribution window of 5 s that `wait` keeps decisions back for.
    limit_ms = 8_640_000 - 5_000
    assert answered(late, now_ms=NOW_MS + limit_ms).probabilities["best"] > 0.8
    assert answered(late, now_ms=NOW_MS + limit_ms + 1).probabilities["best"] == pytest.approx(0.3)


def test_a_capped_arm_is_shown_where_it_is_the_only_one(of):
    at_cap = replace(of(SURE, guardrails=CAPS), exposures=showing({"best": 9, "fresh": 0, "news": 0}))
    assert answered(at_cap, eligible=["best"]).probabilities == {"best": 1.0}


BUDGET = {"budget": {"amount": 100, "window": "1d", "costs": {"best": 1.0}}}


def test_a_spent_budget_takes_its_arms_out_floor_and_all(of):
    snapshot = of(SURE, guardrails=BUDGET)
    for spent, left in ((0, 1.0), (80, 1.0), (95, 0.25), (100, 0.0), (300, 0.0)):
        counted = replace(snapshot, exposures=showing({"best": spent, "fresh": 10, "news": 10}))
        answer = answered(counted)
        assert answer.probabilities["best"] == pytest.approx(0.9 * left, abs=0.02)
        assert answer.decision.guardrails == (("budget",) if left < 1.0 else ())
    assert answer.probabilities["best"] == 0.0


def test_a_budget_that_nothing_is_reported_of_is_not_spent(of):
    late = replace(of(SURE, guardrails=BUDGET), exposures=showing({"best": 0, "fresh": 0, "news": 9}))
    answer = answered(late, now_ms=NOW_MS + DAY_MS)
    assert answer.probabilities["best"] == 0.0
    assert answer.decision.guardrails == ("budget-unreported",)
    first = replace(late, exposures=showing({"best": 0, "fresh": 0, "news": 0}, until_ms=0))
    assert answered(first).probabilities["best"] > 0.8


def test_a_fallback_is_under_budget_caps_and_floors_too(of):
    rails = BUDGET | {"caps": [{"arm": "news", "share": 0.1, "window": "1d"}]}
    snapshot = of(SURE, base=LINEAR, guardrails=rails, exploration={"floor": 0.02, "arms": {"fresh": 0.3}})
    spent = replace(snapshot, exposures=showing({"best": 100, "fresh": 0, "news": 100}))
    answer = answered(spent, {"age": "?"})
    assert answer.fallback == "unencodable-context"
    # best costs what is not there, news is at its cap and has its floor.
    assert answer.probabilities == pytest.approx({"best": 0.0, "fresh": 0.98, "news": 0.02})


def test_exposures_come_with_the_snapshot(of):
    definition = parse_policy(BETA | {"guardrails": CAPS | BUDGET}, "test")
    record = avro.decode_as("snapshot", build_snapshot(definition, [], {}, 1, ""))
    assert record["exposures"] == [{"window_ms": DAY_MS, "until_ms": 0, "counts": [0, 0, 0, 0]}]
    assert of(guardrails=CAPS).exposures == (
        Exposures(DAY_MS, 5_000, {"best": 100, "fresh": 2, "news": 100, "old": 0}),
    )
    assert of().exposures == ()


# The analysis group.


def test_the_analysis_group_is_served_as_everybody_and_its_decisions_say_so(of):
    sections: Plain = {"analysis": {"share": 0.3}, "guardrails": {"holdout": {"share": 0.2}}}
    snapshot, without = of(**sections), of(guardrails=sections["guardrails"])
    members = 0
    for number in range(2_000):
        decision = answered(snapshot, subject_hash=f"s{number}").decision
        beside = answered(without, subject_hash=f"s{number}").decision
        assert decision._replace(is_analysis=False, snapshot_id="") == beside._replace(snapshot_id="")
        assert not (decision.is_analysis and decision.reason == "holdout")
        members += decision.is_analysis
    # Of 2,000 by 0.8 × 0.3 = 480, standard deviation 19.
    assert 400 < members < 560


def test_who_is_of_the_analysis_group_stays_in_it_when_the_share_grows_and_without_a_subject_the_action_says(of):
    small, large = (of(analysis={"share": share}) for share in (0.1, 0.4))

    def members(snapshot: LoadedSnapshot, **who: str) -> set[int]:
        named = [{key: f"{value}{n}" for key, value in who.items()} for n in range(300)]
        return {n for n, one in enumerate(named) if answered(snapshot, **one).decision.is_analysis}

    by_subject, by_action = {"subject_hash": "s"}, {"action_id": "s"}
    assert set() < members(small, **by_subject) < members(large, **by_subject)
    assert members(small, **by_subject) == members(small, **by_action)
    assert members(small, **by_subject, action_id="t") == members(small, **by_subject)


def test_a_budget_counts_what_the_analysis_group_costs_by_what_the_others_do(of):
    # 76 counted of 80 % of the decisions are 95 of all: (100 - 95) / 20 is left.
    counted = replace(
        of(SURE, guardrails=BUDGET, analysis={"share": 0.2}), exposures=showing({"best": 76, "fresh": 10})
    )
    assert answered(counted).probabilities["best"] == pytest.approx(0.9 * 0.25, abs=0.02)


# A model that breaks.


@pytest.mark.parametrize("wrong", [ZeroDivisionError("x"), KeyError("arm"), RuntimeError(), MemoryError()])
def test_whatever_a_model_raises_there_is_an_answer(of, monkeypatch, wrong):
    def fail(*_: object) -> None:
        raise wrong

    snapshot = of(base=LINEAR)
    monkeypatch.setattr(type(snapshot.model), "probabilities", fail)
    answer = answered(snapshot, {"age": 3.0, "device": "mobile"})
    assert answer.fallback == "model-failed"
    assert answer.detail
    assert list(answer.probabilities.values()) == [1 / 3] * 3


@pytest.mark.parametrize("wrong", [[np.nan, 0.5, 0.5], [0.6, 0.6, 0.6], [1.5, -0.5, 0.0], [0.0, 0.0, 0.0]])
def test_a_model_whose_chances_are_none_is_not_believed(of, monkeypatch, wrong):
    snapshot = of(base=LINEAR)
    monkeypatch.setattr(type(snapshot.model), "probabilities", lambda *_: np.array(wrong))
    answer = answered(snapshot, {"age": 3.0, "device": "mobile"})
    assert answer.fallback == "model-failed"
    assert "no distribution" in answer.detail
