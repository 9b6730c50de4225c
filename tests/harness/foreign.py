"""Producers that are not ours: librdkafka, each codec in turn, and whatever bytes a broker takes."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle
from typing import Any

import orjson
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from pipeline.stream.log.topics import DECISIONS, OUTCOMES
from tests.harness.client import Client, partition_of

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
LARGEST_BYTES = 300_000_000
"""Above what any test sends at once; the broker has its own bound for what is left of it when it is compressed."""
TAKEN_OVER_S = 2.0
FLUSHED_WITHIN_S = 60.0

Fields = Mapping[str, Any]
Keyed = tuple[bytes | None, bytes | None]
"""Key and value."""


def producer(broker: str, codec: str, **options: Any) -> Producer:
    """Make a producer of librdkafka that compresses."""
    settings = {"bootstrap.servers": broker, "compression.type": codec, "message.max.bytes": LARGEST_BYTES}
    return Producer({**settings, "log_level": 0, **options})


def send_together(broker: str, codec: str, topic: str, partition: int, records: Sequence[Keyed]) -> list[int]:
    """Send records as one batch; return their offsets."""
    offsets: list[int] = []
    faults: list[Any] = []

    def note(error: Any, message: Any) -> None:
        if error is None:
            offsets.append(message.offset())
        else:
            faults.append(error)

    # Flushing ends the lingering; until then a slow machine needs its time to hand over 100 MiB.
    batch = {"batch.size": LARGEST_BYTES, "linger.ms": 60_000, "queue.buffering.max.kbytes": LARGEST_BYTES // 1000}
    sending = producer(broker, codec, **batch)
    for key, value in records:
        sending.produce(topic, value, key, partition=partition, on_delivery=note)
    # The thread that sends takes over what was handed in; flushing in its midst would make two batches of it.
    sending.poll(TAKEN_OVER_S)
    assert sending.flush(FLUSHED_WITHIN_S) == 0
    assert not faults, faults
    return sorted(offsets)


def compress_topics(broker: str, codecs: Mapping[str, str]) -> None:
    """Set topics' own `compression.type`: what the broker keeps, whatever producers send."""
    resources = [
        ConfigResource(
            ResourceType.TOPIC,
            topic,
            incremental_configs=[ConfigEntry("compression.type", codec, incremental_operation=AlterConfigOpType.SET)],
        )
        for topic, codec in codecs.items()
    ]
    admin = AdminClient({"bootstrap.servers": broker})
    for done in admin.incremental_alter_configs(resources).values():
        done.result(FLUSHED_WITHIN_S)


class ForeignClient:
    """Sends what `Client` would, each lot by the next codec."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._turns = cycle(CODECS)
        self.reconnect()

    def reconnect(self) -> None:
        """Begin with new producers: librdkafka remembers of a topic that it was gone."""
        self._producers = {codec: producer(self._client.broker, codec, **{"linger.ms": 5}) for codec in CODECS}

    async def decide(self, decisions: Iterable[Fields]) -> None:
        """Produce decisions as JSON."""
        await self._produce(DECISIONS, decisions)

    async def observe(self, outcomes: Iterable[Fields]) -> None:
        """Produce outcomes as JSON."""
        await self._produce(OUTCOMES, outcomes)

    async def send(self, topic: str, partition: int, raw: bytes | None, key: bytes | None = b"key") -> None:
        """Produce any bytes, compressed to next to nothing where they are next to nothing."""
        codec = CODECS[1 + zlib.crc32(raw or b"") % (len(CODECS) - 1)]
        await asyncio.to_thread(send_together, self._client.broker, codec, topic, partition, [(key, raw)])

    async def tick(self, event_time_ms: int) -> None:
        """Let every partition's event time come to `event_time_ms`."""
        await self._client.tick(event_time_ms)

    async def _produce(self, topic: str, records: Iterable[Fields]) -> None:
        sending = self._producers[next(self._turns)]
        for record in records:
            action_id = record["action_id"]
            where = partition_of(action_id, self._client.partitions)
            sending.produce(topic, orjson.dumps(record), action_id.encode(), partition=where, headers={"trace": b"1"})
        left = await asyncio.to_thread(sending.flush, FLUSHED_WITHIN_S)
        assert left == 0
