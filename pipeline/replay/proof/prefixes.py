"""Several prefixes of the ledger from one pass over it: each policy's statistics at its offset vector. Pure.

Where a checkpoint is begun at, a partition goes on from what it says; where one is come by, what it names is held
against what was come to.

A prefix is complete when every partition has come to its end:

    partition 0   ───────┤ a ──────┤ b ──
    partition 1   ────────────┤ a ─┤ b ──

What an action counts for is remembered until it has expired, as LEARN does: memory is that of the actions that are open
at one time, and of which are erased, however long the ledger is.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from pipeline.checkpoint.head import Head
from pipeline.checkpoint.parts import cut, list_of
from pipeline.checkpoint.state import LedgerState, lines_of
from pipeline.learn.ledger import LedgerRecord, fold_ledger, merge_deltas
from pipeline.learn.memory import Counted, FoldState, RowKey
from pipeline.models.sums.statistics import Statistics

Rows = Sequence[tuple[RowKey, Statistics]]
Policy = tuple[str, int]
"""A policy generation."""

WAVE_PREFIXES = 64
"""Prefixes that are waited for together: what bounds how far one partition is read ahead of another."""


class Prefix(NamedTuple):
    """What is asked for."""

    name: str
    """Names it in the answer."""
    policy: str
    generation: int
    ends: Mapping[int, int]
    """Ledger partition → next offset that is not in."""


class PrefixRows(NamedTuple):
    """A complete prefix."""

    prefix: Prefix
    rows: Rows
    """Its statistics, sorted by row key."""
    ledger_records: int
    """Records that were folded for it, those of other policies included."""
    event_time_ms: int = 0
    """The latest event time that is in; 0 of an empty prefix."""


class Passed(NamedTuple):
    """A checkpoint that was come by."""

    head: Head
    is_equal: bool
    """Whether what it names is what was come to."""


@dataclass(slots=True)
class _Partition:
    """One partition of the ledger, as far as it is folded."""

    state: FoldState = field(default_factory=FoldState)
    counted: dict[str, Counted] = field(default_factory=dict)
    expiries: list[tuple[int, str]] = field(default_factory=list)
    """Of actions that are not erased, the nearest first; one whose id came again may stand there twice."""
    rows: defaultdict[Policy, dict[RowKey, Statistics]] = field(default_factory=lambda: defaultdict(dict))
    folded: int = 0
    keeps_all: bool = False
    """Whether the rows of policies that nobody asks for are kept too, for checkpoints."""
    waiting: list[tuple[int, int]] = field(default_factory=list)
    """(end, number of the prefix, or below 0 that of a checkpoint), the nearest end last."""


@dataclass(slots=True)
class _Part:
    """What is in of a prefix."""

    missing: set[int]
    rows: dict[RowKey, Statistics] = field(default_factory=dict)
    folded: int = 0
    event_time_ms: int = 0


class PrefixFold:
    """The pass."""

    def __init__(
        self,
        prefixes: Iterable[Prefix],
        begun: Mapping[int, LedgerState] | None = None,
        passes: Mapping[int, Sequence[Head]] | None = None,
    ) -> None:
        """Say what is asked.

        Args:
            prefixes: to be folded.
            begun: what partitions go on from; the others begin at offset 0.
            passes: checkpoints to come by, none behind the last prefix.
        """
        self.passed: list[Passed] = []
        """Those that were come by so far."""
        self._prefixes = list(prefixes)
        self._policies = {(prefix.policy, prefix.generation) for prefix in self._prefixes}
        self._parts = [_Part({number for number, end in prefix.ends.items() if end > 0}) for prefix in self._prefixes]
        self._partitions: defaultdict[int, _Partition] = defaultdict(_Partition)
        for number, prefix in enumerate(self._prefixes):
            for partition, end in prefix.ends.items():
                if end > 0:
                    self._partitions[partition].waiting.append((end, number))
        self._heads = [head for heads in (passes or {}).values() for head in heads]
        for place, head in enumerate(self._heads):
            partition_state = self._partitions[head.partition]
            partition_state.waiting.append((head.offset, -1 - place))
            partition_state.keeps_all = True
        for number, state in (begun or {}).items():
            _go_on_from(self._partitions[number], state)
        for partition_state in self._partitions.values():
            partition_state.waiting.sort(reverse=True)

    @property
    def remembered(self) -> int:
        """How many actions are remembered."""
        return sum(len(partition.counted) for partition in self._partitions.values())

    def add(self, number: int, records: Sequence[LedgerRecord]) -> Iterator[PrefixRows]:
        """Fold records of one partition, in offset order over all calls; yield the prefixes that are complete by it."""
        partition = self._partitions[number]
        while partition.waiting and records and records[-1].offset + 1 >= partition.waiting[-1][0]:
            end = partition.waiting[-1][0]
            below = [record for record in records if record.offset < end]
            self._fold(partition, below)
            yield from self._close(number, partition)
            records = records[len(below) :]
        if partition.waiting:
            self._fold(partition, records)

    def finish(self) -> Iterator[PrefixRows]:
        """Yield the prefixes that no record completes: their last offsets hold none, or they are empty."""
        for number, partition in self._partitions.items():
            while partition.waiting:
                yield from self._close(number, partition)
        yield from (
            self._complete(number) for number, prefix in enumerate(self._prefixes) if not any(prefix.ends.values())
        )

    def _fold(self, partition: _Partition, records: Sequence[LedgerRecord]) -> None:
        fold = fold_ledger(records, partition.counted, partition.state)
        _remember(partition, fold.counted)
        partition.folded += len(records)
        deltas: defaultdict[Policy, list[tuple[RowKey, Statistics]]] = defaultdict(list)
        for key, delta in fold.deltas.items():
            if partition.keeps_all or (key.policy, key.generation) in self._policies:
                deltas[key.policy, key.generation].append((key, delta))
        for policy, changes in deltas.items():
            merge_deltas(partition.rows[policy], changes)

    def _close(self, number: int, partition: _Partition) -> Iterator[PrefixRows]:
        """Take the nearest end's prefix out of a partition that has come to it."""
        _, prefix_number = partition.waiting.pop()
        if prefix_number < 0:
            self._pass_by(partition, self._heads[-1 - prefix_number])
            return
        prefix, part = self._prefixes[prefix_number], self._parts[prefix_number]
        merge_deltas(part.rows, partition.rows[prefix.policy, prefix.generation].items())
        part.folded += partition.folded
        part.event_time_ms = max(part.event_time_ms, partition.state.watermark_ms)
        part.missing.discard(number)
        if not part.missing:
            yield self._complete(prefix_number)

    def _pass_by(self, partition: _Partition, head: Head) -> None:
        rows = {key: row for rows in partition.rows.values() for key, row in rows.items()}
        event_time_ms = partition.state.watermark_ms
        names = list_of(part.name for part in cut(lines_of(event_time_ms, partition.counted, rows)))
        self.passed.append(Passed(head, (names.name, event_time_ms) == (head.state, head.event_time_ms)))

    def _complete(self, number: int) -> PrefixRows:
        part = self._parts[number]
        rows = PrefixRows(self._prefixes[number], sorted(part.rows.items()), part.folded, part.event_time_ms)
        part.rows = {}
        return rows


def _go_on_from(partition: _Partition, state: LedgerState) -> None:
    partition.state, partition.counted = state.fold, state.counted
    partition.expiries = [
        (one.expires_at_ms, action_id) for action_id, one in state.counted.items() if not one.is_erased
    ]
    heapq.heapify(partition.expiries)
    for key, row in state.rows.items():
        partition.rows[key.policy, key.generation][key] = row


def _remember(partition: _Partition, counted: Mapping[str, Counted]) -> None:
    """Take in what actions count for now, and forget those that no record can revise any more."""
    known, expiries = partition.counted, partition.expiries
    for action_id, now in counted.items():
        before = known.get(action_id)
        known[action_id] = now
        if not now.is_erased and (before is None or before.expires_at_ms != now.expires_at_ms):
            heapq.heappush(expiries, (now.expires_at_ms, action_id))
    while expiries and expiries[0][0] < partition.state.watermark_ms:
        expires_ms, action_id = heapq.heappop(expiries)
        over = known.get(action_id)
        if over is not None and over.expires_at_ms == expires_ms:  # an erased one never expires
            del known[action_id]


def waves(prefixes: Iterable[Prefix]) -> list[dict[int, int]]:
    """Return rising offset vectors to read up to in turn, so that the prefixes become complete a few at a time."""
    reached: dict[int, int] = {}
    stops: list[dict[int, int]] = []
    for number, prefix in enumerate(sorted(prefixes, key=lambda prefix: sum(prefix.ends.values())), 1):
        for partition, end in prefix.ends.items():
            reached[partition] = max(end, reached.get(partition, 0))
        if number % WAVE_PREFIXES == 0:
            stops.append(dict(reached))
    return [*stops, reached]
