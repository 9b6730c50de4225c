from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from hashlib import blake2b

import numpy as np
import pytest

from benchmarks import deciding
from pipeline.codec.wire import decode_event
from pipeline.errors import InvalidRecordError
from pipeline.events import Decision, Event, Outcome
from pipeline.policy.definition import PolicyDefinition
from pipeline.policy.guardrails import Rollout, Switches
from pipeline.publish.parts import SnapshotContent
from pipeline.serve import Decided, NoAnswer, load_snapshot
from pipeline.serve.messages.bodies import DecideBody, OutcomeBody
from pipeline.serve.node import ServingNode
from pipeline.serve.settings import ServeSettings
from pipeline.stream.log.topics import DECISIONS, OUTCOMES, SHADOW_DECISIONS
from tests.harness.taught import taught

SETTINGS = ServeSettings("127.0.0.1:1", "0123456789abcdef", drain_timeout_s=0.05)
Content = Callable[..., bytes]


@pytest.fixture
def node() -> ServingNode:
    """A node that was not started: what it logs stays in its buffer."""
    return ServingNode(SETTINGS, rng=np.random.default_rng(1))


def logged(node: ServingNode) -> list[tuple[str, bytes, Event]]:
    expected = {DECISIONS: "decision", OUTCOMES: "outcome"}
    return [
        (parcel.topic, parcel.key, decode_event(parcel.value, expected[parcel.topic], {}))
        for parcel in node.delivery._waiting
    ]


async def test_a_decision_is_logged_as_it_was_answered(
    node: ServingNode, beta: PolicyDefinition, content_of: Content
) -> None:
    node.follower.snapshots["homepage"] = load_snapshot(content_of(beta, {}))
    answer = await node.decide("homepage", {"premium": True}, ["news", "best"], subject="ada", action_id="x1")
    assert isinstance(answer, Decided)
    ((topic, key, event),) = logged(node)
    assert (topic, key) == (DECISIONS, b"x1")
    assert isinstance(event, Decision)
    assert event == answer.decision._replace(eligible=["best", "news"])
    assert abs(event.decided_at_ms - time.time() * 1000) < 60_000


async def test_what_a_shadow_decides_is_logged_apart(
    node: ServingNode, beta: PolicyDefinition, content_of: Content
) -> None:
    shadow = replace(beta, name="next", rollout=Rollout("homepage", 1.0, "shadow"))
    for definition in (beta, shadow):
        node.follower.snapshots[definition.name] = load_snapshot(content_of(definition, {}))
    answer = await node.decide("homepage", {}, action_id="x1")
    assert isinstance(answer, Decided)
    first, second = [(parcel.topic, parcel.key, parcel.value) for parcel in node.delivery._waiting]
    assert first[:2] == (DECISIONS, b"x1")
    assert second[:2] == (SHADOW_DECISIONS, b"x1")
    logged_apart = decode_event(second[2], "decision", {})
    assert isinstance(logged_apart, Decision)
    assert (logged_apart.policy, logged_apart.guardrails) == ("next", ("shadow:homepage",))
    assert node.journal.answers == {"policy": 1}


async def test_what_is_switched_off_at_the_node_is_off(
    node: ServingNode, beta: PolicyDefinition, content_of: Content
) -> None:
    node.follower.snapshots["homepage"] = load_snapshot(content_of(beta, {}))
    node._switches.switches["homepage"] = Switches(is_killed=True, arms=("best",))
    answer = await node.decide("homepage", {})
    assert isinstance(answer, Decided)
    assert (answer.fallback, set(answer.probabilities)) == ("killed", {"fresh", "news"})
    assert node.health()["answers"] == {"killed": 1}
    assert node.health()["guardrails"] == {"killed-arms": 1}


async def test_a_person_is_logged_as_a_hash_only(node: ServingNode) -> None:
    for subject in ("ada@example.com", "ada@example.com", "bob@example.com", None):
        await node.decide("homepage", {}, ["a"], subject=subject)
    first, again, other, nobody = (event.subject_hash for _, _, event in logged(node) if isinstance(event, Decision))
    assert first == again != other
    assert nobody is None
    assert all(b"example.com" not in parcel.value for parcel in node.delivery._waiting)


async def test_without_a_salt_no_person_is_taken() -> None:
    node = ServingNode(ServeSettings("127.0.0.1:1"))
    with pytest.raises(InvalidRecordError, match="subject-not-accepted: this node has no salt"):
        await node.decide("homepage", {}, ["a"], subject="ada")
    assert isinstance(await node.decide("homepage", {}, ["a"]), Decided)
    assert len(logged(node)) == 1


async def test_an_outcome_has_the_key_of_its_decision(node: ServingNode) -> None:
    outcome_id = await node.outcome("x1", "click")
    told_ms = round(time.time() * 1000) - 1_000
    assert await node.outcome("x1", "sale", 3.5, "o1", told_ms) == "o1"
    (_, key, first), (topic, other_key, second) = logged(node)
    assert key == other_key == b"x1"
    assert topic == OUTCOMES
    assert isinstance(first, Outcome)
    assert (first.outcome_id, first.kind, first.value) == (outcome_id, "click", 1.0)
    assert abs(first.occurred_at_ms - time.time() * 1000) < 60_000
    # An id of the caller's own may name somebody: what is logged is its hash, with the action's id before it.
    name = blake2b(b"x1\0o1", digest_size=16, person=b"outcome.1").hexdigest()
    assert second == Outcome(name, "x1", "sale", 3.5, told_ms)


@pytest.mark.parametrize(
    ("at_ms", "reason"), [(1_700_000_000, "out-of-range"), (0, "out-of-range"), (4_000_000_000_000, "far-future")]
)
async def test_an_outcome_s_time_in_another_unit_or_ahead_is_refused_to_its_caller(node, at_ms, reason):
    with pytest.raises(InvalidRecordError) as refused:
        await node.outcome("x1", "click", occurred_at_ms=at_ms)
    assert refused.value.reason == reason
    assert logged(node) == []


async def test_ids_that_are_not_given_are_made_and_never_repeat(node: ServingNode) -> None:
    answers = [await node.decide("homepage", {}, ["a"]) for _ in range(1_000)]
    ids = {answer.decision.action_id for answer in answers if isinstance(answer, Decided)}
    assert len(ids) == 1_000


async def test_what_no_record_could_carry_is_refused_and_not_logged(node: ServingNode) -> None:
    refused = [
        (node.decide("", {}, ["a"]), "policy has 0 characters"),
        (node.decide("p" * 257, {}, ["a"]), "policy has 257 characters"),
        (node.decide("p", {}, ["a" * 257]), r"eligible\[0\] has 257 characters"),
        (node.decide("p", {}, ["a"], action_id=""), "action_id has 0 characters"),
        (node.decide("p", {}, ["a"], subject="\ud800"), "UTF-8"),
        (node.decide("p", {}, [f"{n:0120}" for n in range(10_000)]), "record-too-large"),
        (node.outcome("", "click"), "action_id has 0 characters"),
        (node.outcome("x", "click", float("nan")), "value-not-finite"),
        (node.outcome("x", "click", occurred_at_ms=-1), "occurred_at_ms is -1"),
        (node.outcome("x", "click", outcome_id="\ud800"), "UTF-8"),
    ]
    for asked, fault in refused:
        with pytest.raises(InvalidRecordError, match=fault):
            await asked
    assert logged(node) == []
    assert node.journal.answers.total() == 0


async def test_answers_are_counted_by_what_they_fell_back_from(
    node: ServingNode, linear: PolicyDefinition, content_of: Content
) -> None:
    node.follower.snapshots["homepage"] = load_snapshot(content_of(linear, {}))
    node.follower._published_at_ms["homepage"] = 0
    sound = {"age": 1, "device": "mobile"}
    await node.decide("homepage", sound)
    await node.decide("homepage", {})
    await node.decide("homepage", sound, ["zebra"])
    await node.decide("other", sound, ["zebra"])
    assert isinstance(await node.decide("other", sound), NoAnswer)
    assert node.health()["answers"] == {
        "policy": 1,
        "unencodable-context": 1,
        "no-known-arm": 1,
        "no-snapshot": 1,
        "none.no-snapshot": 1,
    }
    assert node.health()["status"] == "ok"
    assert node.health()["undelivered"] == 4


async def test_a_node_without_broker_answers_and_stops_in_its_time(caplog: pytest.LogCaptureFixture) -> None:
    # Nobody listens on port 1.
    async with asyncio.timeout(20):
        async with ServingNode(SETTINGS) as node:
            assert node.health()["status"] == "no-snapshot"
            answer = await node.decide("homepage", {}, ["a", "b"])
            assert isinstance(answer, Decided)
            assert answer.fallback == "no-snapshot"
            assert node.health()["undelivered"] == 1
    assert "records-abandoned count=1" in caplog.text


async def test_of_outcomes_told_together_all_are_logged_or_none(node: ServingNode) -> None:
    with pytest.raises(InvalidRecordError, match="UTF-8"):
        await node.take_outcomes([OutcomeBody("x1", "click"), OutcomeBody("x2", "\ud800")])
    assert logged(node) == []
    assert node.outcomes_taken == 0


MANY = {f"new-{number}": {f"z{i}": (number + i) % 7 / 7 for i in range(4)} for number in range(100)}
FEATURES: dict[str, object] = {f"f{i}": 0.5 for i in range(15)}


def among_candidates(seed: int) -> ServingNode:
    """Return a node with a policy that takes candidates, another one in its shadow, and one of few arms."""
    node = ServingNode(SETTINGS, rng=np.random.default_rng(seed))
    scored = deciding.policy(1, "hybrid_thompson", candidates=True)
    beside = replace(scored, name="beside", rollout=Rollout(scored.name, 1.0, "shadow"))
    for definition in (scored, beside, deciding.policy(3)):
        few = definition if definition.candidates else replace(definition, name="few")
        node.follower.snapshots[few.name] = load_snapshot(SnapshotContent(taught(few, 1), {}))
    return node


async def test_who_asks_for_little_is_answered_while_another_s_decision_among_many_candidates_is_made() -> None:
    node = among_candidates(1)
    answered: list[str] = []

    async def ask(policy: str, caller: str, candidates: dict[str, dict[str, float]] | None = None) -> None:
        assert isinstance(await node.decide(policy, FEATURES, candidates=candidates, caller=caller), Decided)
        answered.append(caller)

    await asyncio.gather(ask("bench", "hostile", MANY), ask("few", "other"))
    assert answered == ["other", "hostile"]


async def test_a_decision_in_pieces_is_the_one_that_is_made_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    in_pieces, at_once = among_candidates(7), among_candidates(7)
    for number in range(20):
        one = await in_pieces.decide("bench", FEATURES, action_id=f"a{number}", candidates=MANY)
        with monkeypatch.context() as patched:
            patched.setattr("pipeline.serve.node.GO_COST", 10**9)
            other = await at_once.decide("bench", FEATURES, action_id=f"a{number}", candidates=MANY)
        assert isinstance(one, Decided)
        assert isinstance(other, Decided)
        assert replace(one, decision=one.decision._replace(decided_at_ms=0), shadows=()) == replace(
            other, decision=other.decision._replace(decided_at_ms=0), shadows=()
        )
    assert [parcel.topic for parcel in in_pieces.delivery._waiting] == [DECISIONS, SHADOW_DECISIONS] * 20


async def test_an_action_that_is_asked_for_twice_at_once_among_many_candidates_is_decided_once() -> None:
    node = among_candidates(3)
    dear = DecideBody(FEATURES, None, None, "x1", MANY)
    alone, again, (row,) = await asyncio.gather(
        node.decide("bench", FEATURES, action_id="x1", candidates=MANY, caller="one"),
        node.decide("bench", FEATURES, action_id="x1", candidates=MANY, caller="two"),
        node.decide_many("bench", [dear], caller="three"),
    )
    told = {(each.arm, each.propensity) for each in (alone, again, row) if isinstance(each, Decided)}
    assert len(told) == 1
    assert [parcel.topic for parcel in node.delivery._waiting] == [DECISIONS, SHADOW_DECISIONS]
