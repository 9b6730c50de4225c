"""The latest statistics that each ledger partition reported, and the consistent cut through them. Pure.

LEARN sends the rows that a batch changed and then a mark. Rows are staged until their mark comes, so what is
merged is, for each source partition, exactly the fold of the ledger below the mark's offset.

A replay's sums come from sources below zero, each sent once, and count from when a base names them: all of them at
once, and those of the base before no more.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pipeline.learn.memory import RowKey
from pipeline.models.sums.statistics import Statistics


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


class Base(NamedTuple):
    """What a replay has made of the past of a policy generation; a `statistics_base` record."""

    plan: str
    """All that it is a function of beside the log."""
    cuts: Sequence[Sequence[Mapping[str, Any]]]
    """Between which offsets the log was read, as the record has it."""
    first_source: int
    """Sources fall from here."""
    sources: int
    """How many there are."""
    event_time_ms: int
    """Event time that the replay came to."""

    def has(self, source: int) -> bool:
        """Whether a source is one of the base's."""
        return self.first_source - self.sources < source <= self.first_source


def base_from(fields: Mapping[str, Any]) -> Base:
    """Take a base from its decoded record."""
    return Base(*(fields[name] for name in Base._fields))


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
    base: Base | None = None
    """The replay that the generation rests on, if it does."""

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

    def is_replaced(self, base: Base) -> bool:
        """Whether a base is older than the one in force: a repeat."""
        return self.base is not None and base.first_source > self.base.first_source

    def rebase(self, base: Base) -> list[PartialKey] | None:
        """Put a base in force; return the rows that are in none any more, or None where some of its own are missing."""
        sources = range(base.first_source, base.first_source - base.sources, -1)
        if not all(source in self.marks for source in sources):
            return None
        self.base = base
        gone = [key for key in self.merged if base.first_source < key.source < 0]
        for key in gone:
            del self.merged[key]
        return gone

    @property
    def learned(self) -> dict[int, Mark]:
        """The marks of the ledger's partitions: how far it is learned from, beside what a base stands for."""
        return {source: mark for source, mark in self.marks.items() if source >= 0}

    def rows(self) -> Iterator[tuple[RowKey, Statistics]]:
        """Yield each row's sum over the source partitions and the base, sorted by key."""
        sums: dict[RowKey, Statistics] = {}
        for key, statistics in self.merged.items():
            if key.source < 0 and not (self.base and self.base.has(key.source)):
                continue
            known = sums.get(key.row)
            sums[key.row] = statistics if known is None else known + statistics
        yield from sorted(sums.items())

    @property
    def has_staged(self) -> bool:
        """Whether rows wait for their mark."""
        return any(self.staged.values())
