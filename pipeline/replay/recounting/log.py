"""The topics of a replay, read a partition and a step at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Container, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from pipeline.errors import ConfigError, StateError, UnavailableError
from pipeline.join.step import STEP_BYTES
from pipeline.replay.recounting.rows import Raw
from pipeline.stream.log.follow import partition_numbers
from pipeline.stream.log.topics import MAX_BATCH_BYTES
from pipeline.stream.security import Address, client_options

POLL_MS = 500
CREATE_TIME = 0
"""Kafka's number for a timestamp that is its producer's."""


class Step(NamedTuple):
    """Consecutive records of one partition."""

    records: Sequence[Raw]
    """By rising offset."""
    is_complete: bool
    """Whether these are all below the limit that was asked for."""
    unstamped: Container[int] = frozenset()
    """Offsets of records, among others, whose timestamps are their producers' own (CreateTime)."""


class Log:
    """The topics that a replay reads, all of the same partitions."""

    def __init__(self, consumers: Mapping[str, AIOKafkaConsumer], numbers: Sequence[int]) -> None:
        # One for each topic: behind records that are not asked for yet, a consumer lets the others of its broker wait.
        self._consumers = consumers
        self.numbers = numbers
        """Partitions."""
        self._partition = -1
        self._fetched: dict[str, list[Raw]] = {}
        self._unstamped: dict[str, set[int]] = {}

    async def begin(self) -> dict[str, dict[int, int]]:
        """Return the first offsets that are kept."""
        return {
            topic: _numbered(await consumer.beginning_offsets(self._of(topic)))
            for topic, consumer in self._consumers.items()
        }

    async def end(self) -> dict[str, dict[int, int]]:
        """Return the present ends."""
        return {
            topic: _numbered(await consumer.end_offsets(self._of(topic))) for topic, consumer in self._consumers.items()
        }

    async def at(self, time_ms: int) -> dict[str, dict[int, int]]:
        """Return the offsets of the first records that the broker took at `time_ms` or later, or the ends."""
        offsets = await self.end()
        for topic, consumer in self._consumers.items():
            found = await consumer.offsets_for_times(dict.fromkeys(self._of(topic), time_ms))
            for partition, entry in found.items():
                if entry is not None:
                    offsets[topic][partition.partition] = entry.offset
        return offsets

    async def open(self, partition: int, positions: Mapping[str, int]) -> None:
        """Stand at these offsets of a partition.

        Raises:
            StateError: the log begins later.
        """
        begin = await self.begin()
        for topic, position in positions.items():
            if begin[topic][partition] > position:
                raise StateError(
                    f"{topic}/{partition} begins at offset {begin[topic][partition]}, {position} is needed: what "
                    "retention has removed can't be counted again. Give the topic a longer one, or replay --from start"
                )
            consumer = self._consumers[topic]
            if not consumer.assignment():
                # Once for all partitions: aiokafka may not stop while it is about to take another assignment.
                consumer.assign(self._of(topic))
                for tp in self._of(topic):
                    consumer.seek(tp, begin[topic][tp.partition])
            consumer.pause(*self._of(topic))
            consumer.seek(TopicPartition(topic, partition), position)
            consumer.resume(TopicPartition(topic, partition))
            self._fetched[topic], self._unstamped[topic] = [], set()
        self._partition = partition

    async def read(self, topic: str, position: int, limit: int) -> Step:
        """Return the records from `position` up to `limit`, fewer if they are very large.

        Which ones follows from offsets and sizes alone. Calls are made by rising position.
        """
        tp = TopicPartition(topic, self._partition)
        consumer = self._consumers[topic]
        fetched = self._fetched[topic] = [record for record in self._fetched[topic] if record[0] >= position]
        unstamped = self._unstamped[topic] = {offset for offset in self._unstamped[topic] if offset >= position}
        looked_at, size = 0, 0
        while True:
            for index in range(looked_at, len(fetched)):
                if fetched[index][0] >= limit:
                    return Step(fetched[:index], is_complete=True, unstamped=unstamped)
                size += len(fetched[index][3] or b"")
                if size > STEP_BYTES:
                    return Step(fetched[: index + 1], is_complete=False, unstamped=unstamped)
            looked_at = len(fetched)
            if await consumer.position(tp) >= limit:
                return Step(list(fetched), is_complete=True, unstamped=unstamped)
            try:
                polled = await consumer.getmany(tp, timeout_ms=POLL_MS)
            except KafkaError as error:
                raise UnavailableError(f"{topic}/{self._partition} can't be read: {error!r}") from error
            for records in polled.values():
                unstamped.update(record.offset for record in records if record.timestamp_type == CREATE_TIME)
                fetched.extend((record.offset, record.timestamp, record.key, record.value) for record in records)

    def _of(self, topic: str) -> list[TopicPartition]:
        return [TopicPartition(topic, number) for number in self.numbers]


def _numbered(offsets: Mapping[TopicPartition, int]) -> dict[int, int]:
    return {partition.partition: offset for partition, offset in offsets.items()}


@asynccontextmanager
async def open_log(broker: Address, topics: Sequence[str]) -> AsyncIterator[Log]:
    """Connect to the topics of a replay.

    Raises:
        UnavailableError: no broker answers, or a topic is missing.
        ConfigError: the topics have different numbers of partitions.
    """
    consumers = {
        topic: AIOKafkaConsumer(
            **client_options(broker),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="none",
            max_partition_fetch_bytes=MAX_BATCH_BYTES,
        )
        for topic in topics
    }
    started = []
    try:
        numbers = {}
        for topic, consumer in consumers.items():
            try:
                started.append(consumer)
                await consumer.start()
                numbers[topic] = await partition_numbers(consumer, topic)
            except KafkaError as error:
                raise UnavailableError(f"topic {topic} can't be read: {error!r}") from error
        if len({tuple(found) for found in numbers.values()}) > 1:
            counts = ", ".join(f"{topic} has {len(found)}" for topic, found in numbers.items())
            raise ConfigError("topics", [f"{counts} partitions: an action's records must meet, give them equally many"])
        yield Log(consumers, numbers[topics[0]])
    finally:
        for consumer in started:
            await consumer.stop()
