"""Snapshots of decisions that never were: what a node is given to decide by, without a worker."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import numpy as np
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from pipeline.codec.wire import decode_event
from pipeline.events import Decision
from pipeline.learn.memory import RowKey
from pipeline.models.sums.statistics import Statistics, contributions
from pipeline.policy.definition import PolicyDefinition
from pipeline.publish.snapshot import build_snapshot, snapshot_id
from pipeline.serve.http.server import listening
from pipeline.serve.node import ServingNode
from pipeline.serve.settings import ServeSettings
from pipeline.stream.log.topics import DECISIONS, SNAPSHOTS, partition_for

ONE = 2**15
"""A reward of 1, where rewards lie in [0, 1]."""
Rate = Callable[[int], float]
"""An arm's place → how often it is clicked."""


def taught(
    definition: PolicyDefinition,
    version: int,
    *,
    after: bytes = b"",
    decisions: int = 50,
    rate: Rate = lambda _: 0.5,
) -> bytes:
    """Return a snapshot of some decisions an arm, drawn from `version`, that follows another; segment `all` is all."""
    rng = np.random.default_rng(version)
    rows = []
    for place, arm in enumerate(definition.arm_names):
        X = rng.integers(-4096, 4097, (decisions, definition.dimension)).astype(np.int16)
        X[:, :1] = 4096
        sums = Statistics(definition.dimension, contributions(X, (rng.random(decisions) < rate(place)) * ONE))
        rows.append((RowKey(definition.name, definition.generation, "all", arm, 0), sums))
    return build_snapshot(definition, rows, {}, version, snapshot_id(after) if after else "")


async def publish(producer: AIOKafkaProducer, definition: PolicyDefinition, content: bytes, partitions: int) -> None:
    """Publish a snapshot as a worker does."""
    partition = partition_for(definition.name, partitions)
    await producer.send_and_wait(SNAPSHOTS, content, definition.name.encode(), partition=partition)


@asynccontextmanager
async def serving(servers: str, **settings: Any) -> AsyncIterator[tuple[ServingNode, httpx.AsyncClient]]:
    """Run a node and a client of it, over a real socket."""
    node = ServingNode(ServeSettings(servers, **settings))
    async with node, listening(node, "127.0.0.1", 0) as url, httpx.AsyncClient(base_url=url) as client:
        yield node, client


async def logged(servers: str, partitions: int) -> AsyncIterator[Decision]:
    """Yield all decisions that are in Kafka now."""
    async with AIOKafkaConsumer(bootstrap_servers=servers) as consumer:
        places = [TopicPartition(DECISIONS, number) for number in range(partitions)]
        consumer.assign(places)
        await consumer.seek_to_beginning()
        missing = sum((await consumer.end_offsets(places)).values())
        while missing > 0:
            for records in (await consumer.getmany(timeout_ms=200)).values():
                missing -= len(records)
                for record in records:
                    decision = decode_event(record.value, "decision", {})
                    if isinstance(decision, Decision):
                        yield decision
