"""Open a partition of a table: claim it, then bring its RocksDB up to the claim.

The order makes it right. First the claim, then a record of it in the changelog: behind that record nobody else's is
taken, so what is read up to it is all there will ever be. Then RocksDB takes what it lacks, fetch by fetch
(`stream/state/changelog.py`), each with the offset that it reaches to: killed on the way, it goes on from there.

A database that can't be used is removed and built from the whole changelog: one that is broken; one of another
changelog, by cluster or topic id; one whose last record stands in the changelog with another content, or no more (an
unclean election cut it off); and one so old that the changelog may have dropped tombstones which it has not seen.

And a changelog that retention has once been at has lost rows: where the database does not reach behind its first
offset, nobody has them, and the partition is not opened.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, aclosing
from pathlib import Path

import rocksdict
from aiokafka import TopicPartition

from pipeline.errors import StateError
from pipeline.stream.failpoints import Reach
from pipeline.stream.log.continuity import Accepted, cut_off
from pipeline.stream.log.identity import Log, LogLookup
from pipeline.stream.log.outbox import Outbox
from pipeline.stream.log.sources import LOGS, Sources
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

OnRebuilt = Callable[[str, str], None]
"""Told the table, and why its rows were built anew: a word of `REASONS`."""
BROKEN, UNREADABLE, CLUSTER, TOPIC, AHEAD, OTHER, CUT, OLD = REASONS = (
    "broken",
    "unreadable",
    "another-cluster",
    "another-topic",
    "ahead",
    "other-records",
    "cut-off",
    "too-old",
)

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
        on_rebuilt: OnRebuilt = lambda _table, _reason: None,
        on_gone: Callable[[str, int, int], None] = lambda _topic, _number, _count: None,
        accepted: Mapping[str, Accepted] | None = None,
    ) -> None:
        self._table = table
        self._broker = broker
        self._app_id = app_id
        self._cache = cache
        self._index = index
        self._reach = reach
        self._flush_after_s = flush_after_s
        self._on_restored = on_restored
        self._on_rebuilt = on_rebuilt
        self._on_gone = on_gone
        self._accepted = accepted or {}

    async def open(self, number: int) -> DurablePartition:
        """Claim a partition and restore its rows.

        Raises:
            StateError: RocksDB can't be written, or the changelog has lost its beginning. UnavailableError: the broker
                does not answer.
        """
        changelog, name = self._table.changelog, self._table.name

        def reach(point: str) -> None:
            self._reach(f"{name}.{point}")

        outbox = Outbox(self._broker, f"{self._app_id}-{name}-{number}", reach)
        async with AsyncExitStack() as undone:
            undone.push_async_callback(outbox.stop)
            await outbox.start()
            claim = await outbox.deliver_atomically(changelog, number, {CLAIM: outbox.epoch.encode()})
            lookup = LogLookup(outbox.client)
            found = await lookup.log(TopicPartition(changelog, number))
            rows = await self._rows(number, changelog, claim, found, lookup)
            undone.callback(rows.close)
            rows.belongs_to(found)
            self._refuse_cut(rows, claim, found)
            await self._restore(rows, ChangelogReader(outbox.client, changelog, number), claim, reach)
            sources = Sources(number, rows.get(LOGS), lookup, accepted=self._accepted, on_gone=self._on_gone)
            undone.pop_all()
        return DurablePartition(rows, outbox, reach, sources)

    async def _rows(self, number: int, changelog: str, claim: int, found: Log, lookup: LogLookup) -> PartitionRows:
        """Open a database that can be brought up to the claim: the one on disk, or else a new one."""
        path = self._table.path(number)
        if broken_mark(path).exists():
            return self._rebuilt(path, number, changelog, BROKEN, "it was found to be broken")
        try:
            rows = self._opened(path, number, changelog)
            fault = await _fault_of(rows, claim, found, lookup)
        except StateError as error:
            if not broken_mark(path).exists():
                raise
            return self._rebuilt(path, number, changelog, UNREADABLE, str(error))
        if fault is None:
            return rows
        rows.close()
        return self._rebuilt(path, number, changelog, *fault)

    def _refuse_cut(self, rows: PartitionRows, claim: int, found: Log) -> None:
        """Refuse a changelog whose beginning is gone where the rows do not reach behind it.

        One of which nothing is left but the claim is a lost one: a stage begins anew, or says why it can't.

        Raises:
            LogChangedError: an operator has not said that it is to be read as it is.
        """
        start, place = rows.end().offset + 1, (rows.changelog, rows.partition)
        if not start < found.first_offset < claim:
            return
        accepted = self._accepted.get(rows.changelog)
        if accepted is None or accepted.topic_id != found.topic_id:
            raise cut_off(place, found.topic_id, found.leader_epoch, start, found.first_offset)
        log.warning("log-accepted topic=%s partition=%s fault=cut-off from=%s", *place, found.first_offset)

    def _rebuilt(self, path: Path, number: int, changelog: str, word: str, fault: str) -> PartitionRows:
        log.warning("state-rebuilt topic=%s partition=%s folder=%s reason=%r", changelog, number, path, fault)
        self._on_rebuilt(self._table.name, word)
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


async def _fault_of(rows: PartitionRows, claim: int, found: Log, lookup: LogLookup) -> tuple[str, str] | None:
    """Return why a database is no prefix of the changelog, as a word and in full; None: it is one."""
    end = rows.end()
    if end.offset < 0:
        return None
    if (fault := _other_log(rows, found)) is not None:
        return fault
    if end.offset >= claim:
        return AHEAD, f"it holds offset {end.offset}, the changelog ended at {claim}"
    if (fault := await _other_end(rows, found, lookup)) is not None:
        return fault
    # Nothing may be missing behind a database that ends right before the claim, however old it is.
    age_ms = time.time_ns() // 1_000_000 - end.written_at_ms
    if end.offset < claim - 1 and age_ms > OLDEST_MS:
        return OLD, f"it was last written {age_ms / 3_600_000:.1f} h ago, more than {OLDEST_MS / 3_600_000:.1f}"
    return None


def _other_log(rows: PartitionRows, found: Log) -> tuple[str, str] | None:
    """Compare cluster and topic; a database of an earlier release does not say."""
    known = rows.stored_log()
    if known is None:
        return None
    if known.cluster_id != found.cluster_id:
        return CLUSTER, f"it is of cluster {known.cluster_id}, this is {found.cluster_id}"
    if known.topic_id != found.topic_id:
        return TOPIC, f"it is of topic id {known.topic_id}, the changelog has {found.topic_id}: it was made anew"
    return None


async def _other_end(rows: PartitionRows, found: Log, lookup: LogLookup) -> tuple[str, str] | None:
    """Compare the last record with what the changelog has there; where that is compacted, with the epoch's end."""
    partition, offset, known = TopicPartition(rows.changelog, rows.partition), rows.end().offset, rows.stored_log()
    record = await lookup.record_at(partition, found, offset)
    if record is not None:
        if rows.get(record.key) == record.value:
            return None
        return OTHER, f"its last record, at offset {offset}, stands in the changelog with another content"
    if known is None:
        return None
    epoch_end = await lookup.epoch_end(partition, found, known.leader_epoch)
    if 0 <= epoch_end <= offset:
        return CUT, f"it holds offset {offset}, the leader's epoch {known.leader_epoch} ended at {epoch_end}"
    return None


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
