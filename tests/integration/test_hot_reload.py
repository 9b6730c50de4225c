"""Snapshots that arrive faster than anybody decides: each decision is one snapshot's, whole, and none fails."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import httpx
import numpy as np
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from pipeline.brokers.local_kafka import LocalKafka
from pipeline.codec.wire import decode_event
from pipeline.events import Decision
from pipeline.learn.memory import RowKey
from pipeline.models.statistics import Statistics, contributions
from pipeline.policy.definition import PolicyDefinition
from pipeline.policy.parse import load_policy
from pipeline.publish.snapshot import build_snapshot
from pipeline.serve import LoadedSnapshot, load_snapshot
from pipeline.serve.http import listening
from pipeline.serve.node import ServingNode
from pipeline.serve.settings import ServeSettings
from pipeline.stream.topics import DECISIONS, SNAPSHOTS, create_topics, partition_for, topic_specs

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


def content_of(definition: PolicyDefinition, version: int) -> bytes:
    """What 50 decisions an arm taught, of which the version's own arm was clicked most."""
    rng = np.random.default_rng(version)
    rows = []
    for place, arm in enumerate(definition.arm_names):
        X = rng.integers(-4096, 4097, (50, definition.dimension)).astype(np.int16)
        X[:, 0] = 4096
        rate = 0.6 if place == version % 3 else 0.4
        sums = Statistics(definition.dimension, contributions(X, (rng.random(50) < rate) * 2**15))
        rows.append((RowKey(definition.name, definition.generation, "all", arm, 0), sums))
    return build_snapshot(definition, rows, {}, version, parent="")


async def ask_until(stop: asyncio.Event, client: httpx.AsyncClient, number: int) -> list[int]:
    statuses = []
    while not stop.is_set():
        body = {"context": {"x": len(statuses) % 10 / 10}, "action_id": f"reload-{number}-{len(statuses)}"}
        statuses.append((await client.post("/v1/policies/reloaded/decide", json=body)).status_code)
    return statuses


async def logged(servers: str) -> list[Decision]:
    found = []
    async with AIOKafkaConsumer(bootstrap_servers=servers) as consumer:
        places = [TopicPartition(DECISIONS, number) for number in range(PARTITIONS)]
        consumer.assign(places)
        await consumer.seek_to_beginning()
        missing = sum((await consumer.end_offsets(places)).values())
        while missing:
            record = await consumer.getone()
            missing -= 1
            decision = decode_event(record.value, "decision", {})
            if isinstance(decision, Decision):
                found.append(decision)
    return found


def asked_of(snapshot: LoadedSnapshot, decision: Decision) -> np.ndarray:
    vector = np.frombuffer(decision.context_vector, "<i2")
    return snapshot.propensities(decision.segment, tuple(decision.eligible), vector)


async def test_under_load_no_request_fails_and_no_decision_mixes_two_snapshots(own_kafka: LocalKafka) -> None:
    servers = own_kafka.bootstrap_servers
    await create_topics(servers, topic_specs("reload", PARTITIONS))
    definition = load_policy(POLICY, "test")
    contents = {version: content_of(definition, version) for version in range(1, VERSIONS + 1)}
    partition = partition_for(definition.name, PARTITIONS)
    stop = asyncio.Event()
    async with (
        asyncio.timeout(120),
        AIOKafkaProducer(bootstrap_servers=servers) as producer,
        ServingNode(ServeSettings(servers)) as node,
        listening(node, "127.0.0.1", 0) as url,
        httpx.AsyncClient(base_url=url) as client,
    ):
        await producer.send_and_wait(SNAPSHOTS, contents[1], b"reloaded", partition=partition)
        await node.wait_ready("reloaded")
        asking = [asyncio.create_task(ask_until(stop, client, number)) for number in range(CLIENTS)]
        for version in range(2, VERSIONS + 1):
            await producer.send_and_wait(SNAPSHOTS, contents[version], b"reloaded", partition=partition)
            # Every third waits until it decides, the others overtake each other.
            if version % 3 == 0:
                await node.wait_ready("reloaded", version)
        await node.wait_ready("reloaded", VERSIONS)
        stop.set()
        statuses = [status for each in await asyncio.gather(*asking) for status in each]
        await node.flush()
        decisions = await logged(servers)

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
