"""Deliver records, and return only when the broker has acknowledged them.

Records go out through aiokafka's batch builder: one call, one future and one acknowledgement for a batch,
where `send()` costs each of them for a record.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from pipeline.errors import StateError, UnavailableError
from pipeline.stream.topics import MAX_BATCH_BYTES

# Room for the record headers of a batch below the topics' max.message.bytes.
BUILDER_BYTES = MAX_BATCH_BYTES - (64 << 10)


class Record(NamedTuple):
    """A record to deliver."""

    topic: str
    partition: int
    key: bytes
    value: bytes | None
    """None is a tombstone."""


class Outbox:
    """One idempotent producer."""

    def __init__(self, broker: str, **security: Any) -> None:
        self._broker = broker
        self._security = security
        self._producer: AIOKafkaProducer = None  # made by `start`: aiokafka wants a running loop
        self._partition_counts: dict[str, int] = {}

    async def start(self) -> None:
        """Connect.

        Raises:
            UnavailableError: no broker answers.
        """
        self._producer = AIOKafkaProducer(
            bootstrap_servers=self._broker,
            enable_idempotence=True,
            acks="all",
            max_batch_size=BUILDER_BYTES,
            max_request_size=2 * MAX_BATCH_BYTES,
            **self._security,
        )
        try:
            await self._producer.start()
        except KafkaError as error:
            raise UnavailableError(f"no broker answers at {self._broker}: {error}") from error

    async def stop(self) -> None:
        """Disconnect."""
        await self._producer.stop()

    async def partition_count(self, topic: str) -> int:
        """Return how many partitions a topic has."""
        if topic not in self._partition_counts:
            self._partition_counts[topic] = len(await self._producer.partitions_for(topic))
        return self._partition_counts[topic]

    async def deliver(self, records: Iterable[Record]) -> None:
        """Send records, in order within each partition, and wait until all are acknowledged.

        Raises:
            UnavailableError: not acknowledged; some may have been written.
        """
        by_partition: defaultdict[tuple[str, int], list[Record]] = defaultdict(list)
        for record in records:
            by_partition[record.topic, record.partition].append(record)
        sent = []
        for (topic, partition), group in by_partition.items():
            sent.extend([await self._send(builder, topic, partition) for builder in self._build(group)])
        await self._acknowledged(sent)

    async def deliver_atomically(self, topic: str, partition: int, rows: Mapping[bytes, bytes | None]) -> int:
        """Send rows as one record batch, which the broker appends whole or not at all; return the last offset.

        Raises:
            StateError: more than a record batch holds. UnavailableError: not acknowledged.
        """
        builders = self._build([Record(topic, partition, key, value) for key, value in rows.items()])
        if len(builders) != 1:
            size = sum(len(key) + len(value or b"") for key, value in rows.items())
            raise StateError(f"a step of {len(rows)} rows and {size} bytes does not fit one record batch of {topic}")
        (metadata,) = await self._acknowledged([await self._send(builders[0], topic, partition)])
        return int(metadata.offset) + len(rows) - 1

    def _build(self, records: Sequence[Record]) -> list[Any]:
        builders = [self._producer.create_batch()]
        for record in records:
            if builders[-1].append(key=record.key, value=record.value, timestamp=None) is None:
                builders.append(self._producer.create_batch())
                if builders[-1].append(key=record.key, value=record.value, timestamp=None) is None:
                    raise StateError(f"a record of {len(record.value or b'')} bytes fits no batch of {record.topic}")
        return [builder for builder in builders if builder.record_count()]

    async def _send(self, builder: Any, topic: str, partition: int) -> asyncio.Future[Any]:
        try:
            future: asyncio.Future[Any] = await self._producer.send_batch(builder, topic, partition=partition)
        except KafkaError as error:
            raise UnavailableError(f"{topic}/{partition} takes no batch: {error!r}") from error
        return future

    async def _acknowledged(self, sent: Sequence[asyncio.Future[Any]]) -> list[Any]:
        try:
            return list(await asyncio.gather(*sent))
        except KafkaError as error:
            raise UnavailableError(f"a batch was not acknowledged: {error!r}") from error
