"""Open a partition of a table: claim it, then bring its RocksDB up to the claim.

The order makes it right. First the claim, then a record of it in the changelog: behind that record nobody else's is
taken, so what is read up to it is all there will ever be. Then RocksDB takes what it lacks, fetch by fetch.

A database that can't be used is removed and built from the whole changelog: one that is broken, one that holds more
than the changelog (another cluster's, or its topic was made anew), and one so old that the changelog may have dropped
tombstones which it has not seen.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path

import rocksdict
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from pipeline.errors import StateError, UnavailableError
from pipeline.stream.durable import DurablePartition
from pipeline.stream.failpoints import Reach
from pipeline.stream.outbox import Outbox
from pipeline.stream.security import client_options
from pipeline.stream.state import CLAIM, Database, IndexOf, PartitionRows, StateTable, broken_mark, remove_database
from pipeline.stream.topics import TOMBSTONES_KEPT_MS

log = logging.getLogger(__name__)

OnRestored = Callable[[str, int, float], None]
"""Told the table, how many records were read, and in how many seconds."""

FETCH_BYTES = 16 << 20
FETCH_WAIT_MS = 200
STILL_WITHIN_S = 60.0
"""A broker that gives nothing for so long, before the end that it named, is not there."""
OLDEST_MS = TOMBSTONES_KEPT_MS * 3 // 4
"""Of a database's last write; the rest is room for clocks, and for the restoring itself."""


class Opener:
    """Opens the partitions of one table."""

    def __init__(
        self,
        table: StateTable,
        broker: str,
        *,
        app_id: str,
        cache: rocksdict.Cache,
        index: IndexOf | None,
        reach: Reach,
        on_restored: OnRestored = lambda _table, _records, _seconds: None,
    ) -> None:
        self._table = table
        self._broker = broker
        self._app_id = app_id
        self._cache = cache
        self._index = index
        self._reach = reach
        self._on_restored = on_restored

    async def open(self, number: int) -> DurablePartition:
        """Claim a partition and restore its rows.

        Raises:
            StateError: RocksDB can't be written. UnavailableError: the broker does not answer.
        """
        changelog, name = self._table.changelog, self._table.name

        def reach(point: str) -> None:
            self._reach(f"{name}.{point}")

        outbox = Outbox(self._broker, f"{self._app_id}-{name}-{number}", reach)
        await outbox.start()
        claim = await outbox.deliver_atomically(changelog, number, {CLAIM: outbox.epoch.encode()})
        rows = self._rows(number, changelog, claim)
        await self._restore(rows, claim)
        return DurablePartition(rows, outbox, reach)

    def _rows(self, number: int, changelog: str, claim: int) -> PartitionRows:
        """Open a database that can be brought up to the claim: the one on disk, or else a new one."""
        path = self._table.path(number)
        if not broken_mark(path).exists():
            try:
                rows = PartitionRows(Database(path, self._cache), number, changelog, self._index)
                end = rows.end()
            except StateError as error:
                if not broken_mark(path).exists():
                    raise
                fault = str(error)
            else:
                # Nothing may be missing behind a database that ends right before the claim, however old it is.
                age_ms = time.time_ns() // 1_000_000 - end.written_at_ms
                if end.offset >= claim:
                    fault = f"it holds offset {end.offset}, the changelog ended at {claim}"
                elif 0 <= end.offset < claim - 1 and age_ms > OLDEST_MS:
                    fault = f"it was last written {age_ms / 3_600_000:.0f} h ago, more than {OLDEST_MS / 3_600_000:.0f}"
                else:
                    return rows
                rows.close()
        else:
            fault = "it was found to be broken"
        return self._rebuilt(path, number, changelog, fault)

    def _rebuilt(self, path: Path, number: int, changelog: str, fault: str) -> PartitionRows:
        log.warning("state-rebuilt topic=%s partition=%s folder=%s reason=%r", changelog, number, path, fault)
        remove_database(path)
        return PartitionRows(Database(path, self._cache), number, changelog, self._index)

    async def _restore(self, rows: PartitionRows, claim: int) -> None:
        start = rows.end().offset + 1
        began_s = time.monotonic()
        count = await restore(self._broker, rows, claim)
        seconds = time.monotonic() - began_s
        self._on_restored(self._table.name, count, seconds)
        log.info(
            "restored topic=%s partition=%s from=%s to=%s records=%s seconds=%.3f",
            rows.changelog,
            rows.partition,
            start,
            claim,
            count,
            seconds,
        )


async def restore(broker: str, rows: PartitionRows, until: int) -> int:
    """Write the changelog from where the rows end up to and including offset `until`; return the number of records.

    Raises:
        UnavailableError: the broker stopped answering.
    """
    partition = TopicPartition(rows.changelog, rows.partition)
    consumer = AIOKafkaConsumer(
        **client_options(broker),
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=FETCH_BYTES,
        fetch_max_wait_ms=FETCH_WAIT_MS,
        check_crcs=False,  # the broker checked them, RocksDB makes its own
    )
    count = 0
    try:
        await consumer.start()
        consumer.assign([partition])
        consumer.seek(partition, rows.end().offset + 1)
        heard_s = time.monotonic()
        while await consumer.position(partition) <= until:
            fetched = await consumer.getmany(partition, timeout_ms=FETCH_WAIT_MS)
            if records := fetched.get(partition):
                rows.restore(records)
                count += len(records)
                heard_s = time.monotonic()
                await asyncio.sleep(0)
            elif time.monotonic() - heard_s > STILL_WITHIN_S:
                raise UnavailableError(f"{rows.changelog}/{rows.partition} gives nothing for {STILL_WITHIN_S:.0f} s")
    except KafkaError as error:
        raise UnavailableError(f"{rows.changelog}/{rows.partition} can't be read: {error!r}") from error
    finally:
        await consumer.stop()
    return count
