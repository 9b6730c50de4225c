"""The latest statistics that each ledger partition reported, and the consistent cut through them. Pure.

LEARN sends the rows that a batch changed and then a mark. Rows are staged until their mark comes, so what is
merged is, for each source partition, exactly the fold of the ledger below the mark's offset.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from pipeline.learn.memory import RowKey
from pipeline.models.statistics import Statistics


class PartialKey(NamedTuple):
    """One row of one source partition."""

    row: RowKey
    source: int


class Mark(NamedTuple):
    """How far one source partition of one policy generation is in."""

    ledger_offset: int
    """Next ledger offset that is not in."""
    event_time_ms: int
    """Event time of the source there."""


@dataclass(slots=True)
class Partials:
    """Everything known of one policy generation."""

    merged: dict[PartialKey, Statistics] = field(default_factory=dict)
    """Latest complete statistics."""
    staged: defaultdict[int, dict[PartialKey, tuple[int, Statistics]]] = field(
        default_factory=lambda: defaultdict(dict)
    )
    """By source: rows whose mark has not come, with their ledger offset."""
    marks: dict[int, Mark] = field(default_factory=dict)
    """By source: the cut."""

    def stage(self, key: PartialKey, ledger_offset: int, statistics: Statistics) -> None:
        """Take in a row; one that is already in (a repeat) changes nothing."""
        mark = self.marks.get(key.source)
        if mark is None or ledger_offset > mark.ledger_offset:
            self.staged[key.source][key] = (ledger_offset, statistics)

    def mark(self, source: int, mark: Mark) -> dict[PartialKey, Statistics]:
        """Complete a source's staged rows; return those that are now in."""
        known = self.marks.get(source)
        if known is not None and mark.ledger_offset <= known.ledger_offset:
            return {}
        self.marks[source] = mark
        staged = self.staged.pop(source, {})
        complete = {key: row for key, (offset, row) in staged.items() if offset <= mark.ledger_offset}
        # A step that was cut off may have been redone as a shorter one: its rows beyond go on waiting.
        beyond = {key: entry for key, entry in staged.items() if entry[0] > mark.ledger_offset}
        if beyond:
            self.staged[source] = beyond
        self.merged.update(complete)
        return complete

    def rows(self) -> Iterator[tuple[RowKey, Statistics]]:
        """Yield each row's sum over the source partitions, sorted by key."""
        sums: dict[RowKey, Statistics] = {}
        for key, statistics in self.merged.items():
            known = sums.get(key.row)
            sums[key.row] = statistics if known is None else known + statistics
        yield from sorted(sums.items())

    @property
    def has_staged(self) -> bool:
        """Whether rows wait for their mark."""
        return any(self.staged.values())
