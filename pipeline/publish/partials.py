"""The latest statistics that each ledger partition reported, and the consistent cut through them. Pure.

LEARN sends the rows that a batch changed and then a mark. Rows are staged until their mark comes, so what is
merged is, for each source partition, exactly the fold of the ledger below the mark's offset.

What is published of is kept by age (`aged_rows.py`) and costs what changes: of each row that comes in, the difference
to the one before is added. The rows themselves may lie on the disk; all of them are read where there is no other way:
at first, under another base, and where the newest bucket has lost its last decision.

A replay's sums come from sources below zero, each sent once, and count from when a base names them: all of them at
once, and those of the base before no more.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple

from pipeline.learn.memory import RowKey
from pipeline.models.sums.statistics import Statistics
from pipeline.publish.aged_rows import AgedRows


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


Merged = MutableMapping[PartialKey, Statistics]
GROUP_ROWS = 250
"""Rows that are taken in at once: a few milliseconds."""
CHANGED_BYTES = 64 << 20
"""Of changes that nobody publishes (a policy is pinned, or not known): beyond, all rows are read when somebody does."""
CHANGE_BYTES = 500
"""What a change takes beside its sums."""


class Cut:
    """A consistent cut: the fold of the ledger below the marks, not merged yet."""

    def __init__(self, known: Partials, aged: AgedRows | None, rows: Iterable[tuple[RowKey, Statistics]]) -> None:
        self.marks = known.learned
        """Those of the ledger's partitions."""
        self.base = known.base
        self.reading = known.reading
        """Which time all rows are read, or gone on from."""
        self.is_built = aged is None
        """Whether it is made of all rows."""
        self._sums_first = known.sums_first
        self._aged = aged
        self._rows = rows

    def aged_rows(self) -> AgedRows:
        """Merge it, once. Where that is not whole, there must be another cut."""
        if self._aged is not None:
            self._aged.change(list(self._rows))
            return self._aged
        return AgedRows(AgedRows(self._rows, coarsens=False).rows() if self._sums_first else self._rows)


@dataclass(slots=True)
class Partials:
    """Everything known of one policy generation."""

    merged: Merged = field(default_factory=dict)
    """Latest complete statistics."""
    staged: defaultdict[int, dict[PartialKey, tuple[int, Statistics]]] = field(
        default_factory=lambda: defaultdict(dict)
    )
    """By source: rows whose mark has not come, with their ledger offset."""
    marks: dict[int, Mark] = field(default_factory=dict)
    """By source: the cut."""
    base: Base | None = None
    """The replay that the generation rests on, if it does."""
    reading: int = 0
    """How often all rows had to be read."""
    sums_first: bool = False
    """Whether they are summed by bucket before they are by age: what one source has counted, another has taken back."""
    _aged: AgedRows | None = None
    """What was published of last; None: to be built of all rows."""
    _changed: dict[RowKey, Statistics] = field(default_factory=dict)
    """What has come in since."""
    _changed_bytes: int = 0

    def stage(self, key: PartialKey, ledger_offset: int, statistics: Statistics) -> None:
        """Take in a row; one that is already in (a repeat) changes nothing."""
        mark = self.marks.get(key.source)
        if mark is None or ledger_offset > mark.ledger_offset:
            self.staged[key.source][key] = (ledger_offset, statistics)

    def mark(self, source: int, mark: Mark) -> dict[PartialKey, Statistics]:
        """Complete a source's staged rows; return those that are now in."""
        complete: dict[PartialKey, Statistics] = {}
        for group in self.marking(source, mark):
            complete |= group
        return complete

    def marking(self, source: int, mark: Mark) -> Iterator[dict[PartialKey, Statistics]]:
        """Do the same by groups: the cut is consistent again when all have come."""
        known = self.marks.get(source)
        if known is not None and mark.ledger_offset <= known.ledger_offset:
            return
        staged = self.staged.pop(source, {})
        complete = {key: row for key, (offset, row) in staged.items() if offset <= mark.ledger_offset}
        # A step that was cut off may have been redone as a shorter one: its rows beyond go on waiting.
        beyond = {key: entry for key, entry in staged.items() if entry[0] > mark.ledger_offset}
        if beyond:
            self.staged[source] = beyond
        entries = iter(complete.items())
        while group := dict(islice(entries, GROUP_ROWS)):
            for key, row in group.items():
                if _counts(key.source, self.base):
                    self._change(key.row, row, self.merged.get(key))
                self.merged[key] = row
            yield group
        self.marks[source] = mark

    def is_replaced(self, base: Base) -> bool:
        """Whether a base is older than the one in force: a repeat."""
        return self.base is not None and base.first_source > self.base.first_source

    def has_marks_of(self, base: Base) -> bool:
        """Whether all that a base stands for is in."""
        return all(source in self.marks for source in range(base.first_source, base.first_source - base.sources, -1))

    def rebase(self, base: Base) -> list[PartialKey] | None:
        """Put a base in force; return the rows that are in none any more, or None where some of its own are missing."""
        if not self.has_marks_of(base):
            return None
        self.rest_on(base)
        gone = self.replaced()
        for key in gone:
            del self.merged[key]
        return gone

    def rest_on(self, base: Base) -> None:
        """Count what a base stands for from now on, and what the one before stood for no more."""
        self.base = base
        self._forget()

    def replaced(self) -> list[PartialKey]:
        """Return the rows of bases that are not in force any more; it goes through all rows."""
        first = 0 if self.base is None else self.base.first_source
        return [key for key, _ in self.merged.items() if first < key.source < 0]

    @property
    def learned(self) -> dict[int, Mark]:
        """The marks of the ledger's partitions: how far it is learned from, beside what a base stands for."""
        return {source: mark for source, mark in self.marks.items() if source >= 0}

    def cut(self) -> Cut:
        """Return what is in, to be merged elsewhere; `keep` what came of that, or all rows are read the next time."""
        aged, self._aged = self._aged, None
        rows: Iterable[tuple[RowKey, Statistics]] = self._changed.items() if aged else self._counting_rows()
        self._changed, self._changed_bytes = {}, 0
        return Cut(self, aged, rows)

    def keep(self, cut: Cut, aged: AgedRows) -> bool:
        """Go on from what a cut was merged to; return False where there must be another cut."""
        if not aged.is_whole:
            self.sums_first = self.sums_first or cut.is_built
            self._forget()
        elif cut.reading == self.reading:
            self._aged = aged
        return aged.is_whole

    def aged_rows(self) -> AgedRows:
        """Return each row's sums by age, over the source partitions and the base."""
        while True:
            cut = self.cut()
            if self.keep(cut, aged := cut.aged_rows()):
                return aged

    def rows(self) -> list[tuple[RowKey, Statistics]]:
        """Return the same as rows, sorted by key."""
        return self.aged_rows().rows()

    def by_bucket(self) -> list[tuple[RowKey, Statistics]]:
        """Return each row's sum by bucket, however old, sorted by key."""
        return AgedRows(self._counting_rows(), coarsens=False).rows()

    @property
    def has_staged(self) -> bool:
        """Whether rows wait for their mark."""
        return any(self.staged.values())

    def _counting_rows(self) -> Iterable[tuple[RowKey, Statistics]]:
        # Gone through later, in a thread: by the base of now, whatever is in force by then.
        entries, base = self.merged.items(), self.base
        return ((key.row, row) for key, row in entries if _counts(key.source, base))

    def _change(self, key: RowKey, row: Statistics, before: Statistics | None) -> None:
        change = row if before is None else row - before
        known = self._changed.get(key)
        if known is None:
            self._changed_bytes += change.sums.nbytes + CHANGE_BYTES
        self._changed[key] = change if known is None else known + change
        if self._changed_bytes > CHANGED_BYTES:
            self._forget()

    def _forget(self) -> None:
        """Read all rows the next time."""
        self._aged, self._changed, self._changed_bytes = None, {}, 0
        self.reading += 1


def _counts(source: int, base: Base | None) -> bool:
    return source >= 0 or (base is not None and base.has(source))
