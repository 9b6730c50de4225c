"""Snapshots that arrive faster than anybody decides: each decision is one snapshot's, whole, and none fails."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import httpx
import numpy as np
import pytest
from aiokafka import AIOKafkaProducer

from pipeline.brokers.local_kafka import LocalKafka
from pipeline.events import Decision
from pipeline.policy.definition import PolicyDefinition
from pipeline.policy.parsing.parse import load_policy
from pipeline.serve import LoadedSnapshot, load_snapshot
from pipeline.stream.log.topics import create_topics, topic_specs
from tests.harness.taught import logged, publish, serving, taught

pytestmark = pytest.mark.kafka
PARTITIONS, CLIENTS, VERSIONS = 2, 8, 60
POLICY = """
name = "reloaded"
[[arms]]
name = "a"
[[arms]]
name = "b"
[[arms]]
name = "c"
[[context]]
name = "x"
kind = "numeric"
low = 0.0
high = 1.0
[segments]
default = "all"
[algorithm]
name = "linear_thompson"
[reward]
low = 0.0
high = 1.0
[[reward.outcomes]]
kind = "click"
worth = 1.0
window = "10m"
[exploration]
floor = 0.02
"""


def content_of(definition: PolicyDefinition, version: int, after: bytes) -> bytes:
    """What 50 decisions an arm taught, of which the version's own arm was clicked most."""
    return taught(definition, version, after=after, rate=lambda place: 0.6 if place == version % 3 else 0.4)


async def ask_until(stop: asyncio.Event, client: httpx.AsyncClient, number: int) -> list[int]:
    statuses = []
    while not stop.is_set():
        body = {"context": {"x": len(statuses) % 10 / 10}, "action_id": f"reload-{number}-{len(statuses)}"}
        statuses.append((await client.post("/v1/policies/reloaded/decide", json=body)).status_code)
    return statuses


def asked_of(snapshot: LoadedSnapshot, decision: Decision) -> np.ndarray:
    vector = np.frombuffer(decision.context_vector, "<i2")
    return snapshot.propensities(decision.segment, tuple(decision.eligible), vector)


async def test_under_load_no_request_fails_and_no_decision_mixes_two_snapshots(own_kafka: LocalKafka) -> None:
    servers = own_kafka.bootstrap_servers
    await create_topics(servers, topic_specs("reload", PARTITIONS))
    definition = load_policy(POLICY, "test")
    contents = {0: b""}
    for version in range(1, VERSIONS + 1):
        contents[version] = content_of(definition, version, contents[version - 1])
    del contents[0]
    stop = asyncio.Event()
    async with (
        asyncio.timeout(120),
        AIOKafkaProducer(bootstrap_servers=servers) as producer,
        serving(servers) as (node, client),
    ):
        await publish(producer, definition, contents[1], PARTITIONS)
        await node.wait_ready("reloaded")
        asking = [asyncio.create_task(ask_until(stop, client, number)) for number in range(CLIENTS)]
        for version in range(2, VERSIONS + 1):
            await publish(producer, definition, contents[version], PARTITIONS)
            # Every third waits until it decides, the others overtake each other.
            if version % 3 == 0:
                await node.wait_ready("reloaded", version)
        await node.wait_ready("reloaded", VERSIONS)
        stop.set()
        statuses = [status for each in await asyncio.gather(*asking) for status in each]
        await node.flush()
        decisions = [decision async for decision in logged(servers, PARTITIONS)]

    assert set(statuses) == {200}
    assert len(decisions) == len(statuses)
    snapshots = {version: load_snapshot(content) for version, content in contents.items()}
    check(decisions, snapshots)
    # A third of the versions had its turn for certain.
    assert len({decision.snapshot_version for decision in decisions}) >= VERSIONS // 3


def check(decisions: list[Decision], snapshots: Mapping[int, LoadedSnapshot]) -> None:
    for decision in decisions:
        snapshot = snapshots[decision.snapshot_version]
        assert decision.snapshot_id == snapshot.id
        assert decision.reason == "policy"
        # Alone or with others of its turn: each way is within 1e-7 of the truth.
        np.testing.assert_allclose(decision.probabilities, asked_of(snapshot, decision), atol=2e-7)
        assert decision.propensity == decision.probabilities[list(decision.eligible).index(decision.arm)]
        other = snapshots[decision.snapshot_version % VERSIONS + 1]
        # So that this would show: the versions differ by far more.
        assert np.abs(asked_of(other, decision) - decision.probabilities).max() > 1e-4
