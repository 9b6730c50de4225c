"""The topics of a replay, read a partition and a step at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Container, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

from aiokafka import TopicPartition

from pipeline.errors import ConfigError, StateError, UnavailableError
from pipeline.join.step import STEP_BYTES
from pipeline.replay.recounting.rows import Raw
from pipeline.stream.log.follow import taken
from pipeline.stream.log.offsets import EARLIEST_MS, LATEST_MS
from pipeline.stream.log.reader import STILL_WITHIN_S, LogReader, open_reader
from pipeline.stream.log.reading import Reading
from pipeline.stream.security import Address

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

    def __init__(self, reader: LogReader, topics: Sequence[str], numbers: Sequence[int]) -> None:
        self._reader = reader
        self._topics = topics
        self.numbers = numbers
        """Partitions."""
        self._has_come = asyncio.Event()
        self._readings: dict[str, Reading] = {}
        """Of the partition at hand, by topic."""
        self._fetched: dict[str, list[Raw]] = {}
        self._unstamped: dict[str, set[int]] = {}

    async def begin(self) -> dict[str, dict[int, int]]:
        """Return the first offsets that are kept."""
        return await self._offsets(EARLIEST_MS)

    async def end(self) -> dict[str, dict[int, int]]:
        """Return the present stable ends."""
        return await self._offsets(LATEST_MS)

    async def at(self, time_ms: int) -> dict[str, dict[int, int]]:
        """Return the offsets of the first records that the broker took at `time_ms` or later, or the ends."""
        ends, found = await self.end(), await self._offsets(time_ms)
        return {
            topic: {number: end if found[topic][number] < 0 else found[topic][number] for number, end in of.items()}
            for topic, of in ends.items()
        }

    async def open(self, partition: int, positions: Mapping[str, int]) -> None:
        """Stand at these offsets of a partition.

        Raises:
            StateError: the log begins later.
        """
        for reading in self._readings.values():
            self._reader.finish(reading)
        begin = await self.begin()
        for topic, position in positions.items():
            if begin[topic][partition] > position:
                raise StateError(
                    f"{topic}/{partition} begins at offset {begin[topic][partition]}, {position} is needed: what "
                    "retention has removed can't be counted again. Give the topic a longer one, or replay --from start"
                )
            place = TopicPartition(topic, partition)
            self._readings[topic] = self._reader.begin(place, position, self._has_come, asyncio.Event())
            self._fetched[topic], self._unstamped[topic] = [], set()

    async def read(self, topic: str, position: int, limit: int) -> Step:
        """Return the records from `position` up to `limit`, fewer if they are very large.

        Which ones follows from offsets and sizes alone. Calls are made by rising position.
        """
        reading = self._readings[topic]
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
            if reading.taken >= limit:
                return Step(list(fetched), is_complete=True, unstamped=unstamped)
            if not reading.has_waiting:
                await self._wait(topic)
            for batch in taken([reading]):
                unstamped.update(one.offset for one in batch.records if one.timestamp_type == CREATE_TIME)
                fetched.extend((one.offset, one.timestamp, one.key, one.value) for one in batch.records)

    async def _wait(self, topic: str) -> None:
        self._has_come.clear()
        try:
            await asyncio.wait_for(self._has_come.wait(), STILL_WITHIN_S)
        except TimeoutError as error:
            raise UnavailableError(f"{topic} gives nothing for {STILL_WITHIN_S:.0f} s") from error

    async def _offsets(self, moment_ms: int) -> dict[str, dict[int, int]]:
        places = [TopicPartition(topic, number) for topic in self._topics for number in self.numbers]
        found: dict[str, dict[int, int]] = {topic: {} for topic in self._topics}
        for (topic, number), offset in (await self._reader.offsets(places, moment_ms)).items():
            found[topic][number] = offset
        return found


@asynccontextmanager
async def open_log(broker: Address, topics: Sequence[str]) -> AsyncIterator[Log]:
    """Connect to the topics of a replay.

    Raises:
        UnavailableError: no broker answers, or a topic is missing.
        ConfigError: the topics have different numbers of partitions.
    """
    async with open_reader(broker) as reader:
        numbers = {topic: [place.partition for place in await reader.partitions_of(topic)] for topic in topics}
        if len({tuple(found) for found in numbers.values()}) > 1:
            counts = ", ".join(f"{topic} has {len(found)}" for topic, found in numbers.items())
            raise ConfigError("topics", [f"{counts} partitions: an action's records must meet, give them equally many"])
        yield Log(reader, topics, numbers[topics[0]])
