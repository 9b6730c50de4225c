"""The statistics of one policy generation by age, kept up with what changes: what a snapshot is a function of. Pure.

Of each row there are the exact sums of every span of buckets (`models/sums/spans.py`) and of all of them together. A
change of a bucket is added to its span, and when time goes on spans join: so what is held is the same whatever way it
came, has as many spans as the logarithm of age, and costs what changes.

Where the newest bucket loses its last decision (all were erased), spans that have joined would have to part: then
`is_whole` is false, and whoever has the buckets builds it anew.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice

import numpy as np
import orjson

from pipeline.errors import StateError
from pipeline.learn.memory import RowKey
from pipeline.models.sums.spans import Place, span_for
from pipeline.models.sums.statistics import Integers, Statistics
from pipeline.policy.samples import WATCH

Row = tuple[RowKey, Statistics]
AT_ONCE = 10_000
"""Rows that are summed before spans join: memory of building anew."""


class Span:
    """The rows of buckets that are counted together. What is derived of them is kept: a change makes another span."""

    def __init__(self, place: Place, rows: dict[RowKey, Statistics]) -> None:
        self.bucket, self.last = place
        self.rows = rows
        """By key, in which the bucket is the span's."""
        self._entries: dict[bool, bytes] = {}
        self._shown: Mapping[str, int] | None = None

    def changed(self) -> Span:
        """Return a span of the same rows, of which nothing is derived yet."""
        return Span(Place(self.bucket, self.last), self.rows)

    def hashed(self, *, has_tallies: bool) -> bytes:
        """Return `[bucket,"SHA-256 of the rows"]`, empty where there are none that count.

        They are `[[segment, arm, name, [column, …]], …]`, sorted; the name of sums is empty.
        """
        found = self._entries.get(has_tallies)
        if found is None:
            rows = [
                [key.segment, key.arm, key.tally, self.rows[key].sums]
                for key in sorted(self.rows)
                if not key.tally or (has_tallies and not key.tally.startswith(WATCH))
            ]
            text = orjson.dumps(rows, option=orjson.OPT_SERIALIZE_NUMPY)
            entry = b'[%d,"%b"]' % (self.bucket, hashlib.sha256(text).hexdigest().encode()) if rows else b""
            found = self._entries[has_tallies] = entry
        return found

    def shown(self) -> Mapping[str, int]:
        """Return how often each arm was shown in it, over all segments."""
        if self._shown is None:
            counts: defaultdict[str, int] = defaultdict(int)
            for key, row in self.rows.items():
                if not key.tally:
                    counts[key.arm] += row.n
            self._shown = counts
        return self._shown


class Unchanged:
    """How many of the oldest spans are what they were the last time: what was made of them stands.

    A span that changes is another object, so lists are compared without a look into them. The newest, which changes
    mostly, is never among them.
    """

    def __init__(self) -> None:
        self._spans: Sequence[Span] = ()
        self.count = 0

    def look(self, spans: Sequence[Span]) -> int:
        """Compare with the last time; return how many of those known to be unchanged still are: all, or none."""
        known = self.count if spans[: self.count] == self._spans[: self.count] else 0
        count = known
        for span, before in zip(spans[known:-1], self._spans[known:], strict=False):
            if span is not before:
                break
            count += 1
        self._spans, self.count = spans, count
        return known


class Hashed:
    """The hashes of spans as one text, gone on from."""

    def __init__(self) -> None:
        self._unchanged = Unchanged()
        self._text = b""

    def text(self, spans: Sequence[Span], *, has_tallies: bool) -> bytes:
        """Return the entries of all spans that have any, with a comma between any two."""
        known = self._unchanged.look(spans)
        count = self._unchanged.count
        self._text = _joined(self._text if known else b"", spans[known:count], has_tallies=has_tallies)
        return _joined(self._text, spans[count:], has_tallies=has_tallies)


def _joined(text: bytes, spans: Sequence[Span], *, has_tallies: bool) -> bytes:
    entries = (span.hashed(has_tallies=has_tallies) for span in spans)
    return b",".join(filter(None, (text, *entries)))


class AgedRows:
    """The rows of one policy generation."""

    def __init__(self, rows: Iterable[Row] = (), *, coarsens: bool = True) -> None:
        """Sum rows by bucket, in any order; the same bucket may come several times.

        Args:
            rows: exact sums.
            coarsens: whether old buckets are counted together; a release before did not.
        """
        self.coarsens = coarsens
        self._newest: int | None = None
        self.is_whole = True
        self.ever: dict[RowKey, Statistics] = {}
        """By key, in which the bucket is 0: all buckets together."""
        self._spans: dict[int, Span] = {}
        self._ordered: Sequence[Span] | None = None
        self._hashed: dict[bool, Hashed] = {True: Hashed(), False: Hashed()}
        """With tallies, and without."""
        iterator = iter(rows)
        while some := list(islice(iterator, AT_ONCE)):
            self.change(some)

    @classmethod
    def of(cls, rows: Iterable[Row] | AgedRows) -> AgedRows:
        """Return rows by age, as they are or summed up."""
        return rows if isinstance(rows, AgedRows) else cls(rows)

    @property
    def newest(self) -> int:
        """Return the newest bucket with decisions; 0 without any."""
        return self._newest or 0

    @property
    def spans(self) -> Sequence[Span]:
        """Return the spans, the oldest first."""
        if self._ordered is None:
            self._ordered = list(map(self._spans.__getitem__, sorted(self._spans)))
        return self._ordered

    def hashed(self, *, has_tallies: bool) -> bytes:
        """Return the hashes of the spans, the oldest first, with a comma between any two."""
        return self._hashed[has_tallies].text(self.spans, has_tallies=has_tallies)

    def rows(self) -> list[Row]:
        """Return each row of each span, sorted by key."""
        return sorted(((key, row) for span in self._spans.values() for key, row in span.rows.items()), key=_key_of)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows())

    def change(self, changes: Sequence[Row]) -> None:
        """Add exact changes of rows by bucket."""
        self._ordered = None
        decisions: defaultdict[int, int] = defaultdict(int)
        for key, change in changes:
            if not key.tally:
                decisions[key.bucket] += change.n
        newest = max((bucket for bucket, n in decisions.items() if n > 0), default=None)
        if newest is not None and (self._newest is None or newest > self._newest):
            self._newest = newest
            self._join()
        self._add(changes)
        if self._newest in decisions:
            span = self._spans.get(self.newest)
            self.is_whole = span is not None and any(not key.tally for key in span.rows)

    def _add(self, changes: Sequence[Row]) -> None:
        places = {bucket: self._place_of(bucket) for bucket in {key.bucket for key, _ in changes}}
        for place in set(places.values()):
            span = self._spans.get(place.middle)
            self._spans[place.middle] = Span(place, {}) if span is None else span.changed()
        sums: dict[RowKey, tuple[int, Integers]] = {}
        for key, change in changes:
            _sum(sums, key._replace(bucket=places[key.bucket].middle), change)
        ever: dict[RowKey, tuple[int, Integers]] = {}
        for key, (dimension, added) in sums.items():
            one = _frozen(dimension, added)
            _add(self._spans[key.bucket].rows, key, one)
            _sum(ever, key._replace(bucket=0), one)
        for key, (dimension, added) in ever.items():
            _add(self.ever, key, _frozen(dimension, added))
        for place in set(places.values()):
            if not self._spans[place.middle].rows:
                del self._spans[place.middle]

    def _place_of(self, bucket: int) -> Place:
        return span_for(bucket, self.newest) if self.coarsens else Place(bucket, bucket)

    def _join(self) -> None:
        for bucket, span in sorted(self._spans.items()):
            place = self._place_of(bucket)
            if place == (span.bucket, span.last):
                continue
            del self._spans[bucket]
            into = self._spans.get(place.middle)
            joined = Span(place, {} if into is None else into.rows)
            for key, row in span.rows.items():
                _add(joined.rows, key._replace(bucket=place.middle), row)
            self._spans[place.middle] = joined


def _key_of(row: Row) -> RowKey:
    return row[0]


def _sum(sums: dict[RowKey, tuple[int, Integers]], key: RowKey, change: Statistics) -> None:
    held = sums.get(key)
    if held is None:
        sums[key] = change.dimension, change.sums.copy()
        return
    if held[0] != change.dimension:
        raise StateError(f"row {key} has dimensions {held[0]} and {change.dimension}: they don't add up")
    np.add(held[1], change.sums, out=held[1])


def _frozen(dimension: int, sums: Integers) -> Statistics:
    sums.setflags(write=False)
    return Statistics(dimension, sums)


def _add(rows: dict[RowKey, Statistics], key: RowKey, change: Statistics) -> None:
    """Add to a row; one that comes to nothing is as if it had never been."""
    known = rows.get(key)
    after = change if known is None else known + change
    if after.sums.any():
        rows[key] = after
    else:
        rows.pop(key, None)
