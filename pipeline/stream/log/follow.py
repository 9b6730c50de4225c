"""Read a topic from its start and keep up with it, outside of any consumer group."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from pipeline.stream.refusals import unavailable
from pipeline.stream.security import Address, client_options

POLL_MS = 200


class TopicFollower:
    """All partitions of one topic, read by whoever polls it."""

    def __init__(self, broker: Address, topic: str) -> None:
        self.topic = topic
        self._broker = broker
        self._consumer: AIOKafkaConsumer = None  # made by `start`: aiokafka wants a running loop
        self._partitions: list[TopicPartition] = []

    async def start(self) -> None:
        """Connect, and stand at the start of every partition.

        Raises:
            UnavailableError: no broker answers, there is no such topic, or it may not be read.
        """
        self._consumer = AIOKafkaConsumer(
            **client_options(self._broker),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=POLL_MS,
        )
        try:
            await self._consumer.start()
            numbers = await partition_numbers(self._consumer, self.topic)
        except KafkaError as error:
            await self._consumer.stop()
            raise unavailable(f"topic {self.topic} can't be read", error, "Read", self.topic) from error
        self._partitions = [TopicPartition(self.topic, number) for number in numbers]
        self._consumer.assign(self._partitions)
        await self._consumer.seek_to_beginning()

    async def stop(self) -> None:
        """Disconnect, if it ever was connected."""
        if self._consumer is not None:
            await self._consumer.stop()

    async def poll(self, wait_ms: int = POLL_MS) -> Sequence[Any]:
        """Return the next records of all partitions, none if none come in time; offset order within a partition."""
        fetched = await self._consumer.getmany(timeout_ms=wait_ms)
        return [record for records in fetched.values() for record in records]

    async def ends(self) -> dict[int, int]:
        """Return the present end of each partition, by number."""
        found = await self._consumer.end_offsets(self._partitions)
        return {partition.partition: int(end) for partition, end in found.items()}

    async def read_to_end(self) -> Sequence[Any]:
        """Return everything up to what is the end at the time of the call."""
        return [record async for records in self.batches_to_end() for record in records]

    async def batches_to_end(
        self, on_progress: Callable[[int, int], None] = lambda _done, _total: None
    ) -> AsyncIterator[Sequence[Any]]:
        """Yield everything up to what is the end at the time of the call, as it comes; the next call goes on there.

        Args:
            on_progress: told how many of how many offsets are behind.
        """
        ends = await self._consumer.end_offsets(self._partitions)
        starts = {partition: await self._consumer.position(partition) for partition in self._partitions}
        total = sum(ends.values()) - sum(starts.values())
        while (left := await self._left(ends)) > 0:
            on_progress(total - left, total)
            if records := await self.poll():
                yield records
        on_progress(total, total)

    async def first_offsets(self) -> dict[int, int]:
        """Return each partition's first offset that is still kept."""
        firsts = await self._consumer.beginning_offsets(self._partitions)
        return {partition.partition: offset for partition, offset in firsts.items()}

    async def _left(self, ends: dict[TopicPartition, int]) -> int:
        return sum([max(0, end - await self._consumer.position(partition)) for partition, end in ends.items()])


async def partition_numbers(consumer: AIOKafkaConsumer, topic: str) -> list[int]:
    """Return a topic's partitions. Raises KafkaError where there is no such topic."""
    # Asking makes the embedded broker create the topic; a real one says that there is none.
    await consumer._client._wait_on_metadata(topic)  # noqa: SLF001  no public way in 0.14
    return sorted(consumer._client.cluster.partitions_for_topic(topic) or ())  # noqa: SLF001
