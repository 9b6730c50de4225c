"""Producers that a cluster's troubles hold back no longer than the cluster itself needs: librdkafka's.

Each partition is sent to by itself, in order and once. Nobody waits for what one of them holds up, so what comes for
the others goes on coming, as it does from many hosts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

import orjson
from confluent_kafka import Producer

from pipeline.stream.log.topics import DECISIONS, OUTCOMES
from tests.harness.client import Client, partition_of

FLUSHED_WITHIN_S = 120.0
SETTINGS = {
    "enable.idempotence": True,
    "linger.ms": 5,
    "log_level": 0,
    "message.timeout.ms": 600_000,
    "reconnect.backoff.max.ms": 500,
    "retry.backoff.max.ms": 500,
    "socket.connection.setup.timeout.ms": 2_000,
    "socket.timeout.ms": 4_000,
    "topic.metadata.refresh.interval.ms": 3_000,
}


class SteadyProducer:
    """Sends what `Client` would, and does not wait for it until the end."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._producer = Producer({"bootstrap.servers": client.broker, **SETTINGS})
        self._faults: list[str] = []

    async def decide(self, decisions: Iterable[Mapping[str, Any]]) -> None:
        """Produce decisions as JSON."""
        self._produce(DECISIONS, decisions)

    async def observe(self, outcomes: Iterable[Mapping[str, Any]]) -> None:
        """Produce outcomes as JSON."""
        self._produce(OUTCOMES, outcomes)

    async def send(self, topic: str, partition: int, raw: bytes | None) -> None:
        """Produce any bytes."""
        self._producer.produce(topic, raw, b"key", partition=partition, on_delivery=self._note)

    async def tick(self, event_time_ms: int) -> None:
        """Let every partition's event time come to `event_time_ms`, behind all that was produced."""
        left = await asyncio.to_thread(self._producer.flush, FLUSHED_WITHIN_S)
        assert (left, self._faults) == (0, [])
        await self._client.tick(event_time_ms)

    def _produce(self, topic: str, records: Iterable[Mapping[str, Any]]) -> None:
        for record in records:
            key: str = record["action_id"]
            partition = partition_of(key, self._client.partitions)
            self._producer.produce(
                topic, orjson.dumps(record), key.encode(), partition=partition, on_delivery=self._note
            )
        self._producer.poll(0)

    def _note(self, error: Any, _message: Any) -> None:
        if error is not None:
            self._faults.append(str(error))
