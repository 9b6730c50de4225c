"""Read a topic from its start and keep up with it, outside of any consumer group."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from pipeline.errors import AwayError
from pipeline.stream.log.fetch import Batch
from pipeline.stream.log.offsets import EARLIEST_MS, LATEST_MS
from pipeline.stream.log.reader import STILL_WITHIN_S, LogReader
from pipeline.stream.log.reading import Reading
from pipeline.stream.refusals import unavailable
from pipeline.stream.security import Address

POLL_MS = 200


class Entry(NamedTuple):
    """A committed record of a topic."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    """Epoch milliseconds, by the broker's clock where the topic is ours."""
    key: Any
    """Bytes, or None."""
    value: Any
    """Bytes, or None: a tombstone."""
    headers: Sequence[tuple[str, bytes | None]] = ()


class TopicFollower:
    """All partitions of one topic, or one of them, read by whoever polls it."""

    def __init__(self, broker: Address, topic: str, only: Callable[[int], int] | None = None) -> None:
        """Say what to read.

        Args:
            broker: its address.
            topic: what to read.
            only: chooses one partition by how many there are.
        """
        self.topic = topic
        self._only = only
        self._reader = LogReader(broker)
        self._readings: list[Reading] = []
        self._has_come = asyncio.Event()

    async def start(self) -> None:
        """Connect, and stand at the start of every partition.

        Raises:
            UnavailableError: no broker answers, there is no such topic, or it may not be read.
        """
        await self._reader.start()
        partitions = await self._reader.partitions_of(self.topic)
        if self._only is not None:
            partitions = [partitions[self._only(len(partitions))]]
        try:
            begins = await self._reader.offsets(partitions, EARLIEST_MS)
        except KafkaError as error:
            raise unavailable(f"topic {self.topic} can't be read", error, "Read", self.topic) from error
        self._readings = [
            self._reader.begin(place, begin, self._has_come, asyncio.Event()) for place, begin in begins.items()
        ]

    async def stop(self) -> None:
        """Disconnect, if it ever was connected."""
        await self._reader.stop()

    async def poll(self, wait_ms: int = POLL_MS) -> Sequence[Entry]:
        """Return the next records of all partitions, none if none come in time; offset order within a partition.

        Raises:
            UnavailableError: a partition can't be read.
        """
        with suppress(TimeoutError):
            await asyncio.wait_for(self._has_come.wait(), wait_ms / 1000)
        self._has_come.clear()
        return [entry for batch in taken(self._readings) for entry in entries(batch)]

    async def ends(self) -> dict[int, int]:
        """Return the present stable end of each partition, by number."""
        found = await self._reader.offsets(self._places(), LATEST_MS)
        return {place.partition: end for place, end in found.items()}

    async def read_to_end(self) -> Sequence[Entry]:
        """Return everything up to what is the end at the time of the call."""
        return [entry async for found in self.batches_to_end() for entry in found]

    async def batches_to_end(
        self, on_progress: Callable[[int, int], None] = lambda _done, _total: None
    ) -> AsyncIterator[Sequence[Entry]]:
        """Yield everything up to what is the end at the time of the call, as it comes; the next call goes on there.

        Args:
            on_progress: told how many of how many offsets are behind.

        Raises:
            AwayError: the broker gives nothing any more.
        """
        ends = await self.ends()
        total = left = self._left(ends)
        given_s = time.monotonic()
        while left > 0:
            on_progress(total - left, total)
            if found := await self.poll():
                yield found
            before, left = left, self._left(ends)
            if left < before:
                given_s = time.monotonic()
            elif time.monotonic() - given_s > STILL_WITHIN_S:
                raise AwayError(f"topic {self.topic} gives nothing for {STILL_WITHIN_S:.0f} s")
        on_progress(total, total)

    async def first_offsets(self) -> dict[int, int]:
        """Return each partition's first offset that is still kept."""
        found = await self._reader.offsets(self._places(), EARLIEST_MS)
        return {place.partition: begin for place, begin in found.items()}

    def _places(self) -> list[TopicPartition]:
        return [reading.partition for reading in self._readings]

    def _left(self, ends: Mapping[int, int]) -> int:
        return sum(max(0, ends[reading.partition.partition] - reading.taken) for reading in self._readings)


def taken(readings: Iterable[Reading]) -> list[Batch]:
    """Take what waits of each.

    Raises:
        UnavailableError: one of them can't be read on.
    """
    batches = []
    for reading in readings:
        try:
            batch = reading.take()
        except KafkaError as error:
            topic, number = reading.partition
            what = f"{topic}/{number} can't be read at offset {reading.position}"
            raise unavailable(what, error, "Read", topic) from error
        if batch is not None:
            batches.append(batch)
    return batches


def entries(batch: Batch) -> Iterable[Entry]:
    """Yield a batch's records with their place."""
    topic, number = batch.topic, batch.partition
    return (Entry(topic, number, one.offset, one.timestamp, one.key, one.value, one.headers) for one in batch.records)
