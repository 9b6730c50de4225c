"""The agent around LEARN: load, fold, make durable; step by step (`stream/state/durable.py`).

Table rows:   r<action_id> what an action counts for | e<action_id> it is erased | c<row key> statistics
              | s how far the ledger is folded | o<…> what of it `statistics` has not taken (`owed.py`)
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from pipeline.learn.columns import COUNTED_BYTES, Piece, PieceFold, fold_piece, pieces
from pipeline.learn.ledger import merge_deltas
from pipeline.learn.memory import (
    FoldState,
    RowKey,
    fold_state_from_bytes,
    statistics_from_bytes,
    statistics_to_bytes,
)
from pipeline.learn.owed import PATIENCE_S, SUMS, Owing
from pipeline.learn.statistics_records import Told, step_told
from pipeline.models.sums.statistics import Statistics
from pipeline.stream.log import topics
from pipeline.stream.log.fetch import Batch
from pipeline.stream.log.outbox import Outbox
from pipeline.stream.log.sources import Resumption
from pipeline.stream.state.durable import DurablePartition
from pipeline.stream.state.partitions import Opens, Partitions
from pipeline.stream.state.tables import PROGRESS, ROW, PartitionRows, due_key

GONE = b"e"
"""Of an erased action. Interned for ever: whoever asks for an erasure again, it is done once."""
FORGET_ROWS, FORGET_BYTES = 5_000, 2 << 20
"""Expired actions forgotten in one step; fewer where it owes, so that it fits one record batch all the same."""


class LearnPartition:
    """What is in memory of one partition."""

    def __init__(self, held: DurablePartition, patience_s: float) -> None:
        stored = held.rows.get(PROGRESS)
        self.held = held
        self.rows = held.rows
        self.state = FoldState() if stored is None else fold_state_from_bytes(stored)
        self.owing = Owing(held, patience_s)
        self.has_erased = any(True for _ in held.rows.scan(GONE))
        """Whether any action of this partition was ever erased: most never see one, and need not look."""

    def positions(self) -> Mapping[str, int]:
        """Return the next ledger offset to fold."""
        return {topics.REWARDS: self.state.position}

    def resume(self, found: Mapping[str, Resumption]) -> dict[bytes, bytes | None]:
        """Go on where the ledger goes on."""
        self.state.position = found[topics.REWARDS].position
        return {PROGRESS: self.state.to_bytes(is_owing=bool(self.owing.places))}

    def fold(self, piece: Piece) -> PieceFold:
        """Fold a piece into what is remembered of its actions."""
        stored = self.rows.get_many([ROW + action_id for action_id in piece.action_ids])
        gone = self.rows.get_many([GONE + action_id for action_id in piece.action_ids]) if self.has_erased else ()
        return fold_piece(piece, stored, gone, self.state)

    def statistics(self, keys: Sequence[RowKey]) -> dict[RowKey, Statistics]:
        """Return the statistics rows that exist."""
        stored = self.rows.get_many([SUMS + key.to_bytes() for key in keys])
        return {key: statistics_from_bytes(value) for key, value in zip(keys, stored, strict=True) if value is not None}


class LearnAgent:
    """LEARN for all partitions of this worker."""

    name = "learn"

    def __init__(self, opener: Opens, outbox: Outbox, patience_s: float = PATIENCE_S) -> None:
        self._outbox = outbox
        self.partitions = Partitions(opener.open, lambda held: LearnPartition(held, patience_s))

    async def open(self, number: int) -> LearnPartition:
        """Return a partition's memory, claimed and restored on first use after an assignment."""
        return await self.partitions.open(number)

    def position(self, topic: str, partition: int) -> int:
        """Return the first offset that is not in the open partition's state."""
        del topic  # it reads but one
        return self.partitions.known(partition).state.position

    def rows_of(self, partition: int) -> tuple[PartitionRows, str]:
        """Return the rows of an open partition, and the id of the ledger's topic that they are of."""
        held = self.partitions.known(partition).held
        mark, _ = held.sources.marks()[topics.REWARDS]
        return held.rows, mark.topic_id

    async def handle(self, *batches: Batch) -> None:
        """Fold batches of the ledger."""
        for batch in batches:
            partition = await self.open(batch.partition)
            partition.held.sources.take(batch)
            position = partition.state.position
            # Of no value, the reader says where it stands, as of any other that is no ledger record.
            fresh = [(r.offset, b"" if r.value is None else r.value) for r in batch.records if r.offset >= position]
            for piece in pieces(fresh):
                await self._fold(partition, piece)
            # Behind its last record there may be offsets without one.
            partition.state.position = max(partition.state.position, batch.resume_offset)

    async def pay(self, number: int) -> None:
        """Send what an open partition owes, where it is taken."""
        await self.partitions.known(number).owing.pay()

    def owed(self) -> Mapping[int, int]:
        """Return by partition of `statistics` how many partitions of the ledger owe something to it."""
        return Counter(to for partition in self.partitions for to in partition.owing.places)

    async def _fold(self, partition: LearnPartition, piece: Piece) -> None:
        result = partition.fold(piece)
        statistics = partition.statistics(list(result.fold.deltas))
        merge_deltas(statistics, result.fold.deltas.items())
        count = await self._outbox.partition_count(topics.STATISTICS)
        told: defaultdict[int, list[Told]] = defaultdict(list)
        for one in step_told(partition.rows.partition, statistics.items(), partition.state):
            told[topics.partition_for(one.policy, count)].append(one)
        late = await partition.owing.tell(told)
        partition.held.sources.reached(topics.REWARDS, partition.state.position)
        owed_bytes = sum(len(name) + COUNTED_BYTES for one in late.values() for name in one.names)
        rows, index = _changed_rows(partition, result, statistics, FORGET_BYTES - owed_bytes)
        await partition.owing.keep(rows, index, partition.state, late)


def _changed_rows(
    partition: LearnPartition, result: PieceFold, statistics: dict[RowKey, Statistics], forget_bytes: int
) -> tuple[dict[bytes, bytes | None], list[tuple[bytes, bool]]]:
    rows: dict[bytes, bytes | None] = {}
    index: list[tuple[bytes, bool]] = []
    # Actions that no revision can reach any more are forgotten; one counted in this very step is not yet due.
    size = 0
    for due_ms, row_id in partition.rows.due(partition.state.watermark_ms - 1, FORGET_ROWS):
        size += len(row_id) + COUNTED_BYTES
        if size > forget_bytes:
            break
        rows[ROW + row_id] = None
        index.append((due_key(due_ms, row_id), False))
    for due_ms, row_id in result.left_due:
        index.append((due_key(due_ms, row_id), False))
    for row_id, value, expires_ms in zip(result.action_ids, result.counted, result.expires_at_ms, strict=True):
        rows[ROW + row_id] = value
        index.append((due_key(expires_ms, row_id), True))
    for action_id, counted in result.fold.counted.items():
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
    return rows, index
