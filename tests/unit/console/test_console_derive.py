from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pipeline.codec.reward import WHOLE
from pipeline.console.derive import decision_checks, reward_check
from pipeline.events import Decision
from pipeline.policy.definition import PolicyDefinition
from pipeline.publish.snapshot import build_snapshot
from pipeline.serve.decision.decide import decide
from pipeline.serve.following.snapshot import LoadedSnapshot, load_snapshot
from pipeline.serve.messages.decided import Decided
from tests.harness.told import settled
from tests.samples import define, linear_policy, plain_policy

NOW_MS = 1_700_000_000_000


def made_by(definition: PolicyDefinition, **context: Any) -> tuple[Decision, LoadedSnapshot]:
    snapshot = load_snapshot(build_snapshot(definition, [], {}, 1, ""))
    decided = decide(
        snapshot, definition.name, context, None, rng=np.random.default_rng(1), action_id="a", now_ms=NOW_MS
    )
    assert isinstance(decided, Decided)
    return decided.decision, snapshot


def answers(decision: Decision, snapshot: LoadedSnapshot | None) -> dict[str, str]:
    return {one.what: one.answer for one in decision_checks(decision, snapshot)}


@pytest.mark.parametrize(
    ("policy", "context"), [(plain_policy(), {"visits": 1}), (linear_policy(), {"visits": 1, "x": 0.5, "y": 3.0})]
)
def test_what_a_node_decided_is_derived_again(policy: dict[str, Any], context: dict[str, Any]):
    found = answers(*made_by(define(policy), **context))
    assert set(found.values()) == {"equal"}
    assert {"snapshot", "segment", "probabilities", "propensity of the arm", "sum of probabilities"} <= found.keys()


def sticky(subject: str) -> tuple[Decision, LoadedSnapshot]:
    definition = define(
        plain_policy(
            assignment={"sticky": "subject", "epoch": "7d", "constant": ["visits"]}, exploration={"floor": 0.0}
        )
    )
    snapshot = load_snapshot(build_snapshot(definition, [], {}, 1, ""))
    decided = decide(
        snapshot,
        definition.name,
        {"visits": 1},
        None,
        rng=np.random.default_rng(1),
        action_id="a",
        now_ms=NOW_MS,
        subject_hash=subject,
    )
    assert isinstance(decided, Decided)
    return decided.decision, snapshot


def test_the_arm_that_a_subject_keeps_is_drawn_again():
    decision, snapshot = sticky("ada")
    what = "arm of the subject in epoch 0"
    assert set(answers(decision, snapshot).values()) == {"equal"}
    assert answers(decision, snapshot)[what] == "equal"
    # Two arms at a half each: the other one is another's.
    other = next(arm for arm in decision.eligible if arm != decision.arm)
    assert answers(decision._replace(arm=other), snapshot)[what] == "different"
    whose = next(subject for subject in "bcdefgh" if sticky(subject)[0].arm == other)
    assert answers(decision._replace(subject_hash=whose), snapshot)[what] == "different"


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"segment": "other"}, "segment"),
        ({"snapshot_id": "0" * 64}, "snapshot"),
        ({"probabilities": (0.4, 0.6), "propensity": 0.4, "arm": "a"}, "probabilities"),
        ({"probabilities": (0.4, 0.4)}, "sum of probabilities"),
        ({"propensity": 0.9}, "propensity of the arm"),
        ({"reason": "holdout"}, "reason"),
    ],
)
def test_what_is_not_what_the_node_would_have_done_is_named(changed: dict[str, Any], what: str):
    decision, snapshot = made_by(define(plain_policy()), visits=1)
    assert answers(decision._replace(**changed), snapshot)[what] == "different"


def test_what_the_log_does_not_hold_is_named_where_it_may_matter():
    definition = define(plain_policy(guardrails={"frequency": {"shows": 1, "window": "1d"}}))
    decision, snapshot = made_by(definition, visits=1)
    capped = decision._replace(probabilities=(0.0, 1.0), arm="b", propensity=1.0)
    (found,) = [one for one in decision_checks(capped, snapshot) if one.what == "probabilities"]
    assert found.answer == "not told"
    assert "frequency cap" in found.why


def test_without_its_snapshot_a_decision_is_held_against_itself_alone():
    decision, _ = made_by(define(plain_policy()), visits=1)
    found = answers(decision, None)
    assert found == {"sum of probabilities": "equal", "propensity of the arm": "equal", "probabilities": "not told"}


def test_a_reward_is_told_again_from_its_outcomes():
    definition = define(plain_policy())
    decision = {"action_id": "a", "segment": "new", "arm": "a", "decided_at_ms": NOW_MS}

    def record(reward: float, **others: Any) -> dict[str, Any]:
        return settled(definition, decision, reward) | {"outcomes_before": WHOLE, "tallies": []} | others

    # Nothing came of it: it is worth nothing.
    assert reward_check(record(0.0), definition).answer == "equal"
    assert reward_check(record(0.5), definition).answer == "different"
    assert reward_check(record(0.0), None).answer == "not told"
    assert reward_check(record(0.0, is_erased=True), definition).answer == "not told"
