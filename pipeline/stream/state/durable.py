"""One partition of a stage in this worker's hands, and the order in which a step of it becomes durable.

    1. what it sends (ledger records, statistics, dead letters) is delivered and acknowledged; or, of statistics, what
       is not becomes durable as owed (`learn/owed.py`)
    2. the changed rows and the stage's progress go to the changelog as one record batch, acknowledged
    3. RocksDB takes the same rows, with the changelog offset, in one WriteBatch

The source offset is acknowledged when all steps of a fetched batch are through (`stream/log/lanes.py`). A crash
before 2 repeats the step from the same state; after 2, the changelog says that it happened (ops/decisions/0003, 0005).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Protocol

from aiokafka import TopicPartition

from pipeline.stream.failpoints import Reach, pass_by
from pipeline.stream.log.identity import Log
from pipeline.stream.log.outbox import Headers, Outgoing, Place, Record
from pipeline.stream.log.sources import Sources
from pipeline.stream.state.tables import PartitionRows


class Deliveries(Protocol):
    """What delivers for the partition: `Outbox` with its owner's name."""

    async def deliver(self, records: Iterable[Record], headers: Headers = ()) -> None:
        """Send records and wait until all are acknowledged."""

    async def deliver_all(self, outgoing: Outgoing) -> None:
        """Do the same with records by partition."""

    def send_each(self, outgoing: Outgoing) -> Mapping[Place, asyncio.Future[None]]:
        """Send records; return by partition what ends when all of its are acknowledged."""

    async def deliver_atomically(self, topic: str, partition: int, rows: Mapping[bytes, bytes | None]) -> int:
        """Send rows as one record batch and wait; return the last offset."""

    async def stop(self) -> None:
        """Disconnect."""


class DurablePartition:
    """Rows of a partition, and the claimed outbox that alone may change them."""

    def __init__(
        self, rows: PartitionRows, outbox: Deliveries, reach: Reach = pass_by, sources: Sources | None = None
    ) -> None:
        self.rows = rows
        self.outbox = outbox
        self.sources = sources or Sources(rows.partition)
        """The logs that the stage reads, and what of them is in the rows."""
        self.number = rows.partition
        self._reach = reach

    async def make_durable(
        self,
        outputs: Outgoing,
        rows: Mapping[bytes, bytes | None],
        index: Iterable[tuple[bytes, bool]] = (),
    ) -> None:
        """Do one step.

        Args:
            outputs: what it sends.
            rows: changed rows by key, None deletes.
            index: entries (key, whether it is to be there) of RocksDB alone.
        """
        await self.deliver(outputs)
        await self.keep({**rows, **self.sources.rows()}, index)

    async def deliver(self, outputs: Outgoing) -> None:
        """Send what a step tells others, and wait until all is acknowledged."""
        self._reach("before-outputs")
        await self.outbox.deliver_all(outputs)
        self._reach("outputs-acknowledged")

    async def deliver_within(self, seconds: float, outputs: Outgoing) -> dict[Place, asyncio.Future[None]]:
        """Do so for so long; return what ends when a partition has acknowledged, of those that have not."""
        self._reach("before-outputs")
        sent = self.outbox.send_each(outputs)
        if sent:
            await asyncio.wait(sent.values(), timeout=seconds)
        for each in sent.values():
            if each.done():
                each.result()
        self._reach("outputs-acknowledged")
        return {place: each for place, each in sent.items() if not each.done()}

    async def keep(self, rows: Mapping[bytes, bytes | None], index: Iterable[tuple[bytes, bool]] = ()) -> None:
        """Write changed rows, None deletes: to the changelog, then to RocksDB."""
        offset = await self.outbox.deliver_atomically(self.rows.changelog, self.number, rows)
        self._reach("changelog-acknowledged")
        self.rows.write(rows, offset, index)
        self._reach("rows-written")

    @property
    def changelog(self) -> TopicPartition:
        """Where the rows are durable."""
        return TopicPartition(self.rows.changelog, self.number)

    def see_changelog(self, found: Log) -> None:
        """Compare the changelog, as it is now, with the one that is written. Raises LogChangedError."""
        self.rows.see(found)

    async def close(self) -> None:
        """Give it back; its rows are closed on disk."""
        self.rows.close()
        await self.outbox.stop()
