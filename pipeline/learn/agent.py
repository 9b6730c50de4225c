"""The agent around LEARN: load, fold, make durable; step by step (`stream/durable.py`).

Table rows:   r<action_id> what an action counts for | e<action_id> it is erased | c<row key> statistics
              | s how far the ledger is folded
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from pipeline.codec import avro
from pipeline.codec.reward import Names, RewardReader
from pipeline.learn.ledger import Fold, LedgerRecord, fold_ledger, merge_deltas
from pipeline.learn.memory import (
    Counted,
    FoldState,
    RowKey,
    counted_from_bytes,
    fold_state_from_bytes,
    statistics_from_bytes,
    statistics_to_bytes,
)
from pipeline.models.statistics import Statistics, width
from pipeline.models.tally import Tally
from pipeline.stream import topics
from pipeline.stream.batch import Batch
from pipeline.stream.durable import DurablePartition
from pipeline.stream.outbox import Outbox, Record
from pipeline.stream.partitions import Opens, Partitions
from pipeline.stream.state import PROGRESS, ROW, due_key

SUMS = b"c"
GONE = b"e"
"""Of an erased action. Kept for ever: whoever asks for an erasure again, it is done once."""
STEP_RECORDS = 5_000
STEP_BYTES = 4 << 20
"""Of rows that a step may touch: they become one record batch of the changelog, which the topic bounds at 8 MiB."""
FORGET_ROWS, FORGET_BYTES = 5_000, 2 << 20
"""Expired actions forgotten in one step."""
COUNTED_BYTES = 64
"""What an action takes there beside its id, at most."""


class LearnPartition:
    """What is in memory of one partition."""

    def __init__(self, held: DurablePartition) -> None:
        stored = held.rows.get(PROGRESS)
        self.held = held
        self.rows = held.rows
        self.state = FoldState() if stored is None else fold_state_from_bytes(stored)
        self.has_erased = any(True for _ in held.rows.scan(GONE))
        """Whether any action of this partition was ever erased: most never see one, and need not look."""

    def counted(self, records: Sequence[LedgerRecord]) -> dict[str, Counted]:
        """Return what the records' actions count for so far."""
        ids = list(dict.fromkeys(record.action_id for record in records))
        counted: dict[str, Counted] = {}
        for kind in (ROW, GONE) if self.has_erased else (ROW,):
            stored = self.rows.get_many([kind + action_id.encode() for action_id in ids])
            counted |= {one: counted_from_bytes(value) for one, value in zip(ids, stored, strict=True) if value}
        return counted

    def statistics(self, keys: Sequence[RowKey]) -> dict[RowKey, Statistics]:
        """Return the statistics rows that exist."""
        stored = self.rows.get_many([SUMS + key.to_bytes() for key in keys])
        return {key: statistics_from_bytes(value) for key, value in zip(keys, stored, strict=True) if value is not None}


class LearnAgent:
    """LEARN for all partitions of this worker."""

    name = "learn"

    def __init__(self, opener: Opens, outbox: Outbox) -> None:
        self._outbox = outbox
        self.partitions = Partitions(opener.open, LearnPartition)

    async def open(self, number: int) -> LearnPartition:
        """Return a partition's memory, claimed and restored on first use after an assignment."""
        return await self.partitions.open(number)

    def position(self, topic: str, partition: int) -> int:
        """Return the first offset that is not in the open partition's state."""
        del topic  # it reads but one
        return self.partitions.known(partition).state.position

    async def handle(self, batch: Batch) -> None:
        """Fold one fetched batch of the ledger."""
        partition = await self.open(batch.partition)
        position = partition.state.position
        fresh = [(record.offset, record.value) for record in batch.records if record.offset >= position]
        for step in steps(ledger_records(fresh)):
            await self._fold(partition, step)

    async def _fold(self, partition: LearnPartition, records: Sequence[LedgerRecord]) -> None:
        result = fold_ledger(records, partition.counted(records), partition.state)
        statistics = partition.statistics(list(result.deltas))
        merge_deltas(statistics, result.deltas.items())
        outputs = await self._outputs(partition, statistics)
        await partition.held.make_durable(outputs, *_changed_rows(partition, result, statistics))

    async def _outputs(self, partition: LearnPartition, statistics: dict[RowKey, Statistics]) -> list[Record]:
        """Return the changed rows, and behind those of each policy generation a mark."""
        count = await self._outbox.partition_count(topics.STATISTICS)
        source, state = partition.rows.partition, partition.state
        records: list[Record] = []
        for key, row in statistics.items():
            value = avro.encode(
                "statistics",
                {
                    **key._asdict(),
                    "source_partition": source,
                    "ledger_offset": state.position,
                    "dimension": row.dimension,
                    "sums": row.to_bytes(),
                },
            )
            to = topics.partition_for(key.policy, count)
            records.append(Record(topics.STATISTICS, to, key.to_bytes() + b"@%d" % source, value))
        for policy, generation in sorted({(key.policy, key.generation) for key in statistics}):
            mark = {
                "policy": policy,
                "generation": generation,
                "source_partition": source,
                "ledger_offset": state.position,
                "event_time_ms": state.watermark_ms,
            }
            name = f"{policy}/{generation}@{source}".encode()
            to = topics.partition_for(policy, count)
            records.append(Record(topics.STATISTICS, to, name, avro.encode("statistics_mark", mark)))
        return records


def ledger_records(raws: Iterable[tuple[int, bytes]]) -> list[LedgerRecord]:
    """Read (offset, value) pairs of the ledger."""
    read = RewardReader().read
    keys: dict[tuple[Names, int], RowKey] = {}  # some hundred rows, thousands of records
    records = []
    for offset, raw in raws:
        action_id, names, bucket, revision, reward, vector, expires_ms, time_ms, erased, final, tallies = read(raw)
        key = keys.get((names, bucket))
        if key is None:
            key = keys[names, bucket] = RowKey(*names, bucket)
        record = LedgerRecord(offset, action_id, key, revision, reward, vector, expires_ms, time_ms, erased, final)
        if tallies:
            record = record._replace(tallies=tuple(Tally(*tally) for tally in tallies))
        records.append(record)
    return records


def steps(records: Sequence[LedgerRecord]) -> Iterator[Sequence[LedgerRecord]]:
    """Cut a batch into steps that touch a bounded number of bytes of statistics."""
    start, touched, size = 0, set[RowKey](), 0
    for index, record in enumerate(records):
        size += len(record.action_id.encode()) + COUNTED_BYTES
        if record.key not in touched:
            touched.add(record.key)
            size += 8 * width(len(record.vector) // 2)
        for tally in record.tallies:
            size += 8 * tally.width + COUNTED_BYTES
        if size >= STEP_BYTES or index - start >= STEP_RECORDS:
            yield records[start : index + 1]
            start, touched, size = index + 1, set(), 0
    if start < len(records):
        yield records[start:]


def _changed_rows(
    partition: LearnPartition, result: Fold, statistics: dict[RowKey, Statistics]
) -> tuple[dict[bytes, bytes | None], list[tuple[bytes, bool]]]:
    rows: dict[bytes, bytes | None] = {}
    index: list[tuple[bytes, bool]] = []
    # Actions that no revision can reach any more are forgotten; one counted in this very step is not yet due.
    size = 0
    for due_ms, row_id in partition.rows.due(partition.state.watermark_ms - 1, FORGET_ROWS):
        size += len(row_id) + COUNTED_BYTES
        if size > FORGET_BYTES:
            break
        rows[ROW + row_id] = None
        index.append((due_key(due_ms, row_id), False))
    for action_id, counted in result.counted.items():
        row_id = action_id.encode()
        if counted.is_erased:
            rows[ROW + row_id] = None
            rows[GONE + row_id] = counted.to_bytes()
            partition.has_erased = True
            continue
        rows[ROW + row_id] = counted.to_bytes()
        index.append((due_key(counted.expires_at_ms, row_id), True))
    for key, row in statistics.items():
        rows[SUMS + key.to_bytes()] = statistics_to_bytes(row)
    rows[PROGRESS] = partition.state.to_bytes()
    return rows, index
