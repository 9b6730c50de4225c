from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from types import SimpleNamespace

import pytest
from aiokafka.errors import KafkaConnectionError

from pipeline.codec import avro
from pipeline.errors import UnavailableError
from pipeline.policy.canonical import to_canonical_json
from pipeline.policy.definition import PolicyDefinition
from pipeline.policy.guardrails import Switches
from pipeline.policy.operations import revived
from pipeline.policy.switches import Switch
from pipeline.serve.following import follower as retrying
from pipeline.serve.following import switches as module
from pipeline.serve.following.switches import SwitchFollower
from tests.unit.serve.test_serve_follower import WITHIN_S, Topic


@asynccontextmanager
async def following(topic: Topic) -> AsyncIterator[SwitchFollower]:
    follower = SwitchFollower("broker:1", open_topic=lambda _broker, _name: topic)
    task = asyncio.create_task(follower.follow())
    try:
        async with asyncio.timeout(WITHIN_S):
            yield follower
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def record(definition: PolicyDefinition) -> bytes:
    text = to_canonical_json(definition).decode()
    return avro.encode("policy", {"name": definition.name, "generation": definition.generation, "definition": text})


def killed(definition: PolicyDefinition, arms: tuple[str, ...] = ()) -> PolicyDefinition:
    """Give a definition that has them off itself, as a file may and earlier releases wrote."""
    return replace(definition, switches=Switches(is_killed=not arms, arms=arms))


def turned(arm: str, *, is_off: bool) -> bytes:
    return avro.encode("switch", Switch("homepage", arm, is_off, 1)._asdict())


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110  the follower has no event to wait for, and `following` has a deadline
        await asyncio.sleep(0)


async def test_a_policy_is_killed_and_revived_as_the_topic_says(beta):
    topic = Topic()
    async with following(topic) as follower:
        topic.put(record(beta), record(killed(beta, ("best",))))
        await until(lambda: follower.switches.get("homepage") == Switches(arms=("best",)))
        topic.put(record(killed(beta)))
        await until(lambda: follower.switches["homepage"] == Switches(is_killed=True))
        topic.put(record(revived(beta)))
        await until(lambda: follower.switches["homepage"] == Switches())


async def test_a_switch_outlives_every_definition_that_is_applied_before_or_after_it(beta):
    topic = Topic()
    async with following(topic) as follower:
        topic.put(turned("", is_off=True), record(beta), turned("best", is_off=True))
        topic.put(record(replace(beta, generation=4)), record(replace(beta, name="last")))
        await until(lambda: "last" in follower.switches)
        assert follower.switches["homepage"] == Switches(is_killed=True, arms=("best",))
        topic.put(turned("", is_off=False))
        await until(lambda: follower.switches["homepage"] == Switches(arms=("best",)))
        topic.put(record(killed(replace(beta, generation=4))))
        await until(lambda: follower.switches["homepage"] == Switches(is_killed=True, arms=("best",)))


async def test_the_highest_generation_has_the_word(beta):
    topic = Topic()
    async with following(topic) as follower:
        topic.put(record(beta), record(killed(replace(beta, generation=2))), record(replace(beta, name="last")))
        await until(lambda: "last" in follower.switches)
        assert follower.switches["homepage"] == Switches()


async def test_what_cannot_be_read_is_passed_over(beta, caplog):
    topic = Topic()
    async with following(topic) as follower:
        directive = {"policy": "homepage", "number": 1, "action": "pin", "version": 3, "content": b""}
        topic.put(b"junk", None, avro.encode("directive", directive))
        strange = avro.encode("policy", {"name": "x", "generation": 1, "definition": "null"})
        nobody_s = SimpleNamespace(partition=0, offset=3, key=b"\xff/part/x", value=strange, timestamp=0, headers=())
        topic.fetches.put_nowait([nobody_s])
        topic.put(record(killed(beta)))
        await until(lambda: "homepage" in follower.switches)
    assert follower.switches["homepage"].is_killed
    assert "policy-record-refused offset=0" in caplog.text
    assert "policy-record-refused offset=3" in caplog.text
    assert caplog.text.count("policy-record-refused") == 2
    assert "policy-switched name=homepage killed=True" in caplog.text


@pytest.mark.parametrize("failure", [KafkaConnectionError(), UnavailableError("away")])
async def test_switches_stay_while_no_broker_answers(beta, failure, monkeypatch):
    monkeypatch.setattr(module, "RETRY_S", 0.0)
    monkeypatch.setattr(retrying, "RETRY_S", 0.0)
    topic = Topic()
    async with following(topic) as follower:
        topic.put(record(killed(beta)))
        topic.fetches.put_nowait(failure)
        await until(lambda: topic.starts > 1)
        assert follower.switches["homepage"].is_killed
        topic.put(record(revived(beta)))
        await until(lambda: not follower.switches["homepage"].is_killed)
        assert topic.stops == 1
