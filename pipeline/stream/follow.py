"""Read a topic from its start and keep up with it, outside of any consumer group."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from pipeline.errors import UnavailableError

POLL_MS = 200


class TopicFollower:
    """All partitions of one topic, read by whoever polls it."""

    def __init__(self, broker: str, topic: str, **security: Any) -> None:
        self.topic = topic
        self._broker = broker
        self._security = security
        self._consumer: AIOKafkaConsumer = None  # made by `start`: aiokafka wants a running loop
        self._partitions: list[TopicPartition] = []

    async def start(self) -> None:
        """Connect, and stand at the start of every partition.

        Raises:
            UnavailableError: no broker answers, or there is no such topic.
        """
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=self._broker,
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=POLL_MS,
            **self._security,
        )
        try:
            await self._consumer.start()
            numbers = await self._partition_numbers()
        except KafkaError as error:
            raise UnavailableError(f"topic {self.topic} can't be read: {error!r}") from error
        self._partitions = [TopicPartition(self.topic, number) for number in numbers]
        self._consumer.assign(self._partitions)
        await self._consumer.seek_to_beginning()

    async def _partition_numbers(self) -> list[int]:
        # Asking makes the embedded broker create the topic; a real one says that there is none.
        await self._consumer._client._wait_on_metadata(self.topic)  # noqa: SLF001  no public way in 0.14
        return sorted(self._consumer._client.cluster.partitions_for_topic(self.topic) or ())  # noqa: SLF001

    async def stop(self) -> None:
        """Disconnect."""
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
        ends = await self._consumer.end_offsets(self._partitions)
        records: list[Any] = []
        while not await self._is_past(ends):
            records.extend(await self.poll())
        return records

    async def _is_past(self, ends: dict[TopicPartition, int]) -> bool:
        for partition, end in ends.items():
            if await self._consumer.position(partition) < end:
                return False
        return True
