"""Scenario 7: a node starts before any snapshot, is killed, has no broker for a minute: it goes on answering."""

from __future__ import annotations

import asyncio
import struct
import time
from typing import Any

import httpx
import pytest

from pipeline.brokers.local_kafka import LocalKafka
from pipeline.codec.wire import decode_event
from pipeline.stream.log.topics import DECISIONS, OUTCOMES
from tests.faults.trial import RECOVERED_WITHIN_S, Trial
from tests.harness.known import Traffic, now
from tests.harness.node import Node, Visitors
from tests.naive.fold import naive_fold
from tests.samples import define, plain_policy

AWAY_S = 60.0
VISITS = 200
BOTH = ["a", "b"]
SETTLED_MS = 60_000
"""Window and grace, and a bit: below what clocks may be ahead."""


@pytest.mark.faults
async def test_a_node_without_snapshots_or_killed_or_without_a_broker(
    broker_trial: Trial, own_kafka: LocalKafka
) -> None:
    trial = broker_trial
    policy = plain_policy(settle="optimistic", grace="30s", publish={"interval": "100ms"})
    async with httpx.AsyncClient(timeout=10.0) as http:
        with Node(trial.place.broker, trial.folder / "node") as node:
            visitors = Visitors(http, "homepage")
            # Before there is any policy or snapshot, only the caller knows what could be shown.
            early = await visitors.come(node, VISITS, eligible=BOTH)
            assert {answer["reason"] for answer in early} == {"fallback"}
            trial.injected()
            await trial.client.apply(define(policy))
            with trial.supervised() as worker:
                trial.client.watch(worker)
                await is_live(trial, visitors, node)
                await learned_from(trial, visitors, node)
                await is_killed(trial, visitors, node)
                await goes_on_alone(trial, visitors, node, own_kafka)
                await delivered(trial, visitors, node)
                # Nobody can tell a worker that it is later than it is: what is held is waited for. Nor does this
                # worker say by itself that it has become later.
                await trial.client.still(DECISIONS, for_s=SETTLED_MS / 1000)
                await trial.client.tick(now())
                stream = await from_topics(trial, policy)
                assert_all_there(visitors, stream)
                await trial.settle(stream, places=await places_of(trial))


async def is_live(trial: Trial, visitors: Visitors, node: Node) -> None:
    async def has_snapshot() -> bool:
        return "homepage" in (await visitors.health(node))["snapshots"]

    await trial.client.until(has_snapshot, what="a snapshot to be live")


async def learned_from(trial: Trial, visitors: Visitors, node: Node) -> None:
    answers = await visitors.come(node, VISITS)
    assert {answer["reason"] for answer in answers} == {"policy"}
    await delivered(trial, visitors, node)


async def is_killed(trial: Trial, visitors: Visitors, node: Node) -> None:
    """Kill it when what it answered is delivered; it comes back with the last snapshot."""
    await asyncio.to_thread(node.kill)
    await asyncio.to_thread(node.start)
    trial.injected()
    await is_live(trial, visitors, node)
    answers = await visitors.come(node, VISITS)
    assert {answer["reason"] for answer in answers} == {"policy"}
    await delivered(trial, visitors, node)
    await trial.client.quiet(RECOVERED_WITHIN_S)


async def goes_on_alone(trial: Trial, visitors: Visitors, node: Node, kafka: LocalKafka) -> None:
    """Without a broker it answers from the last snapshot, and says how old it is."""
    await asyncio.to_thread(kafka.kill)
    trial.injected()
    before = (await visitors.health(node))["snapshots"]["homepage"]
    away_until = time.monotonic() + AWAY_S
    while time.monotonic() < away_until:
        answers = await visitors.come(node, 5)
        assert {answer["reason"] for answer in answers} == {"policy"}
        await asyncio.sleep(0.5)
    health = await visitors.health(node)
    after = health["snapshots"]["homepage"]
    assert after["version"] == before["version"]
    # Nothing was published meanwhile, so it has aged by as long as the broker was away.
    assert after["age_ms"] - before["age_ms"] >= AWAY_S * 1_000
    assert (health["status"], health["dropped"]) == ("degraded", 0)
    await asyncio.to_thread(kafka.restart)
    trial.is_over()


async def delivered(trial: Trial, visitors: Visitors, node: Node) -> None:
    async def is_done() -> bool:
        return (await visitors.health(node))["undelivered"] == 0

    await trial.client.until(is_done, what="the node to deliver", within_s=RECOVERED_WITHIN_S)


async def places_of(trial: Trial) -> dict[str, int]:
    """Return where the node's producer has put each action."""
    return {record.key.decode(): record.partition for record in await trial.client.read(DECISIONS)}


async def from_topics(trial: Trial, policy: dict[str, Any]) -> Traffic:
    """Return what stands in the topics, as the plain records that the naive fold takes."""
    decisions = [
        decode_event(r.value, "decision", {})._asdict() for r in await trial.client.read(DECISIONS) if r.key != b"key"
    ]
    outcomes = [
        decode_event(r.value, "outcome", {})._asdict() for r in await trial.client.read(OUTCOMES) if r.key != b"key"
    ]
    for decision in decisions:
        packed = decision["context_vector"]
        decision["context_vector"] = list(struct.unpack(f"<{len(packed) // 2}h", packed))
    naive = naive_fold(policy, decisions, outcomes)
    return Traffic(policy, [(0, one) for one in decisions], [(0, one) for one in outcomes], naive, 0)


def assert_all_there(visitors: Visitors, stream: Traffic) -> None:
    """Everything that was answered is in the topics, as it was answered."""
    arms = {record["action_id"]: (record["arm"], record["propensity"]) for _, record in stream.decisions}
    assert arms == {name: (answer["arm"], answer["propensity"]) for name, answer in visitors.told.items()}
    assert {record["outcome_id"] for _, record in stream.outcomes} == set(visitors.outcomes)
