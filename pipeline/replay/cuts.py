"""Several cuts through the ledger from one pass over it: each policy's statistics at its offset vector. Pure.

partition 0   ──────┤ cut a ──────────┤ cut b ──
partition 1   ───────────────┤ cut a ─┤ cut b ──     a cut is complete when every partition has come to its end
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from pipeline.learn.ledger import LedgerRecord, fold_ledger, merge_deltas
from pipeline.learn.memory import Counted, FoldState, RowKey
from pipeline.models.statistics import Statistics

Rows = Sequence[tuple[RowKey, Statistics]]
Policy = tuple[str, int]
"""A policy generation."""

WAVE_CUTS = 64
"""Cuts that are waited for together: what bounds how far one partition is read ahead of another."""


class Cut(NamedTuple):
    """What is asked for."""

    name: str
    """Names it in the answer."""
    policy: str
    generation: int
    ends: Mapping[int, int]
    """Ledger partition → next offset that is not in."""


class CutRows(NamedTuple):
    """A complete cut."""

    cut: Cut
    rows: Rows
    """Its statistics, sorted by row key."""
    ledger_records: int
    """Records that were folded for it, those of other policies included."""


@dataclass(slots=True)
class _Partition:
    """One partition of the ledger, as far as it is folded."""

    state: FoldState = field(default_factory=FoldState)
    counted: dict[str, Counted] = field(default_factory=dict)
    rows: defaultdict[Policy, dict[RowKey, Statistics]] = field(default_factory=lambda: defaultdict(dict))
    folded: int = 0
    waiting: list[tuple[int, int]] = field(default_factory=list)
    """(end, number of the cut), the nearest end last."""


@dataclass(slots=True)
class _Part:
    """What is in of a cut."""

    missing: set[int]
    rows: dict[RowKey, Statistics] = field(default_factory=dict)
    folded: int = 0


class CutFold:
    """The pass."""

    def __init__(self, cuts: Iterable[Cut]) -> None:
        self._cuts = list(cuts)
        self._policies = {(cut.policy, cut.generation) for cut in self._cuts}
        self._parts = [_Part({number for number, end in cut.ends.items() if end > 0}) for cut in self._cuts]
        self._partitions: defaultdict[int, _Partition] = defaultdict(_Partition)
        for number, cut in enumerate(self._cuts):
            for partition, end in cut.ends.items():
                if end > 0:
                    self._partitions[partition].waiting.append((end, number))
        for partition_state in self._partitions.values():
            partition_state.waiting.sort(reverse=True)

    def add(self, number: int, records: Sequence[LedgerRecord]) -> Iterator[CutRows]:
        """Fold records of one partition, in offset order over all calls; yield the cuts that are complete by it."""
        partition = self._partitions[number]
        while partition.waiting and records and records[-1].offset + 1 >= partition.waiting[-1][0]:
            end = partition.waiting[-1][0]
            below = [record for record in records if record.offset < end]
            self._fold(partition, below)
            yield from self._close(number, partition)
            records = records[len(below) :]
        if partition.waiting:
            self._fold(partition, records)

    def finish(self) -> Iterator[CutRows]:
        """Yield the cuts that no record completes: their last offsets hold none, or they are empty."""
        for number, partition in self._partitions.items():
            while partition.waiting:
                yield from self._close(number, partition)
        yield from (self._complete(number) for number, cut in enumerate(self._cuts) if not any(cut.ends.values()))

    def _fold(self, partition: _Partition, records: Sequence[LedgerRecord]) -> None:
        fold = fold_ledger(records, partition.counted, partition.state)
        partition.counted.update(fold.counted)
        partition.folded += len(records)
        deltas: defaultdict[Policy, list[tuple[RowKey, Statistics]]] = defaultdict(list)
        for key, delta in fold.deltas.items():
            if (key.policy, key.generation) in self._policies:
                deltas[key.policy, key.generation].append((key, delta))
        for policy, changes in deltas.items():
            merge_deltas(partition.rows[policy], changes)

    def _close(self, number: int, partition: _Partition) -> Iterator[CutRows]:
        """Take the nearest end's cut out of a partition that has come to it."""
        _, cut_number = partition.waiting.pop()
        cut, part = self._cuts[cut_number], self._parts[cut_number]
        merge_deltas(part.rows, partition.rows[cut.policy, cut.generation].items())
        part.folded += partition.folded
        part.missing.discard(number)
        if not part.missing:
            yield self._complete(cut_number)

    def _complete(self, number: int) -> CutRows:
        part = self._parts[number]
        rows = CutRows(self._cuts[number], sorted(part.rows.items()), part.folded)
        part.rows = {}
        return rows


def waves(cuts: Iterable[Cut]) -> list[dict[int, int]]:
    """Return rising offset vectors to read up to in turn, so that the cuts become complete a few at a time."""
    reached: dict[int, int] = {}
    stops: list[dict[int, int]] = []
    for number, cut in enumerate(sorted(cuts, key=lambda cut: sum(cut.ends.values())), 1):
        for partition, end in cut.ends.items():
            reached[partition] = max(end, reached.get(partition, 0))
        if number % WAVE_CUTS == 0:
            stops.append(dict(reached))
    return [*stops, reached]
