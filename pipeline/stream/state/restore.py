"""Open a partition of a table: claim it, then bring its RocksDB up to the claim.

The order makes it right. First the claim, then a record of it in the changelog: behind that record nobody else's is
taken, so what is read up to it is all there will ever be. Then RocksDB takes what it lacks, fetch by fetch
(`stream/state/changelog.py`), each with the offset that it reaches to: killed on the way, it goes on from there.

A database that can't be used is removed and built from the whole changelog: one that is broken, one that holds more
than the changelog (another cluster's, or its topic was made anew), and one so old that the changelog may have dropped
tombstones which it has not seen.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path

import rocksdict

from pipeline.errors import StateError
from pipeline.stream.failpoints import Reach
from pipeline.stream.log.outbox import Outbox
from pipeline.stream.log.topics import TOMBSTONES_KEPT_MS
from pipeline.stream.security import Address
from pipeline.stream.state.changelog import ChangelogReader
from pipeline.stream.state.durable import DurablePartition
from pipeline.stream.state.tables import (
    CLAIM,
    FLUSH_AFTER_S,
    Database,
    IndexOf,
    PartitionRows,
    Prepared,
    StateTable,
    broken_mark,
    remove_database,
)

log = logging.getLogger(__name__)

OnRestored = Callable[[str, int, float], None]
"""Told the table, how many records were read, and in how many seconds."""

OLDEST_MS = TOMBSTONES_KEPT_MS * 3 // 4
"""Of a database's last write; the rest is room for clocks, and for the restoring itself."""


class Opener:
    """Opens the partitions of one table."""

    def __init__(
        self,
        table: StateTable,
        broker: Address,
        *,
        app_id: str,
        cache: rocksdict.Cache,
        index: IndexOf | None,
        reach: Reach,
        flush_after_s: float = FLUSH_AFTER_S,
        on_restored: OnRestored = lambda _table, _records, _seconds: None,
    ) -> None:
        self._table = table
        self._broker = broker
        self._app_id = app_id
        self._cache = cache
        self._index = index
        self._reach = reach
        self._flush_after_s = flush_after_s
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
        await self._restore(rows, ChangelogReader(outbox.client, changelog, number), claim, reach)
        return DurablePartition(rows, outbox, reach)

    def _rows(self, number: int, changelog: str, claim: int) -> PartitionRows:
        """Open a database that can be brought up to the claim: the one on disk, or else a new one."""
        path = self._table.path(number)
        if not broken_mark(path).exists():
            try:
                rows = self._opened(path, number, changelog)
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
                    fault = f"it was last written {age_ms / 3_600_000:.1f} h ago, more than {OLDEST_MS / 3_600_000:.1f}"
                else:
                    return rows
                rows.close()
        else:
            fault = "it was found to be broken"
        return self._rebuilt(path, number, changelog, fault)

    def _rebuilt(self, path: Path, number: int, changelog: str, fault: str) -> PartitionRows:
        log.warning("state-rebuilt topic=%s partition=%s folder=%s reason=%r", changelog, number, path, fault)
        remove_database(path)
        return self._opened(path, number, changelog)

    def _opened(self, path: Path, number: int, changelog: str) -> PartitionRows:
        database = Database(path, self._cache)
        return PartitionRows(database, number, changelog, self._index, flush_after_s=self._flush_after_s)

    async def _restore(self, rows: PartitionRows, reader: ChangelogReader, claim: int, reach: Reach) -> None:
        start = rows.end().offset + 1
        began_s = time.monotonic()
        count = await restore(reader, rows, claim, reach)
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


async def restore(reader: ChangelogReader, rows: PartitionRows, until: int, reach: Reach) -> int:
    """Write the changelog from where the rows end up to and including offset `until`; return the number of records.

    While RocksDB writes one fetch, the next is made ready, and one more is on its way.

    Raises:
        UnavailableError: the broker stopped answering. StateError: RocksDB can't be written.
    """
    start = rows.end().offset + 1
    rows.begin_restoring()
    count = 0

    def write(prepared: Prepared) -> None:
        rows.restore(prepared)
        reach("part-restored")

    writing: asyncio.Future[None] = asyncio.ensure_future(asyncio.sleep(0))
    try:
        async with aclosing(reader.read(start, until)) as fetches:
            async for batches in fetches:
                prepared = await asyncio.to_thread(rows.prepare, batches, start)
                await asyncio.shield(writing)
                writing = asyncio.ensure_future(asyncio.to_thread(write, prepared))
                count += prepared.records
    finally:
        # Cancelled or not: a thread that writes holds the database.
        await asyncio.wait({writing})
    await writing
    await asyncio.to_thread(rows.end_restoring)
    return count
