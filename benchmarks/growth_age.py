"""Cost of a publish, as a deployment ages: 10 arms × 3 segments, hourly buckets, 4 partitions of the ledger.

Two years are played day by day through the publisher's own memory and store: of every hour each row comes in from a
partition, and of every day a correction of one that is weeks or months old. At each age the next snapshots are taken:

    the next one         each row of the newest bucket has changed in a partition: flat, age costs nothing
    of a new bucket      every weight has changed: by the logarithm of age, since so many spans are added up
    held the loop        the longest piece of taking in, on the event loop: flat

What is right is what all rows in the store come to when they are read anew, at the last age.
"""

from __future__ import annotations

import resource
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np

from benchmarks.growth import Point
from benchmarks.load import ONE, policy
from benchmarks.report import Row
from pipeline.learn.memory import RowKey
from pipeline.models.sums.forgetting import Forgetting
from pipeline.models.sums.statistics import Statistics, contributions
from pipeline.policy.definition import PolicyDefinition
from pipeline.publish.aged_rows import AgedRows
from pipeline.publish.derivation import Derivation
from pipeline.publish.partials import Mark, PartialKey, Partials
from pipeline.publish.partition import StoredPartials
from pipeline.publish.parts import divide
from pipeline.publish.snapshot import snapshot_fields
from pipeline.stream.state.scratch import ScratchRows, scratch_rows

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
FIRST_HOUR = 470_000
PARTITIONS = 4
ARMS, SEGMENTS = 10, 3
TIMES = 41
"""Snapshots of one repetition, which is their median."""
DAY_HOURS = 24
NEXT, NEW_BUCKET, HELD = "the next one", "of a new bucket", "held the loop"


class Case(NamedTuple):
    """A policy."""

    name: str
    dimension: int
    forgetting: Forgetting


WEEK_MS = 7 * DAY_MS
CASES = (
    Case("Beta, window of 7 days", 0, Forgetting(window_ms=WEEK_MS)),
    Case("Beta, half-life of 7 days", 0, Forgetting(half_life_ms=WEEK_MS)),
    Case("linear d = 16, half-life of 7 days", 16, Forgetting(half_life_ms=WEEK_MS)),
)
DAYS, SMOKE_DAYS = (2, 30, 180, 730), (1, 3)


def measure(days: Sequence[int], repetitions: int) -> list[Point]:
    """Play every case."""
    return [point for case in CASES for point in _played(case, days, repetitions)]


def rows_of(points: Sequence[Point]) -> list[Row]:
    """Tell every point, and how much more the oldest costs than the youngest."""
    rows = [point.row for point in points]
    for case in dict.fromkeys(point.case for point in points):
        some = [point for point in points if point.case == case]
        ratio = some[-1].row.median / some[0].row.median
        rows.append(Row(f"{case}: at {some[-1].size} days / at {some[0].size}", "", (ratio,)))
    return rows


class _Publisher:
    """What PUBLISH has of one policy, and a clock of hours."""

    def __init__(self, case: Case, store: ScratchRows) -> None:
        plain = policy(case.dimension, arm_count=ARMS, segment_count=SEGMENTS)
        self.definition: PolicyDefinition = replace(plain, bucket_ms=HOUR_MS, forgetting=case.forgetting)
        self._store = store
        self._unwritten: dict[bytes, bytes | None] = {}
        self.partials = Partials(StoredPartials(store, self._unwritten, plain.name, plain.generation))
        self._known = Derivation()
        self._offset = 0
        segments = self.definition.segments.names
        self._rows = [(segment, arm) for segment in segments for arm in self.definition.arm_names]
        rng = np.random.default_rng(0)
        X = rng.integers(-4096, 4097, (5, case.dimension)).astype(np.int16)
        X[:, :1] = 4096
        self._one = Statistics(case.dimension, contributions(X, [0, 0, 0, 0, ONE]))
        self.held_s = 0.0

    def learn(self, hour: int, source: int, rows: Sequence[tuple[str, str]] = ()) -> None:
        """Take in one more decision of each row, or of some, as the agent does; and what it writes."""
        counted = {}
        for segment, arm in rows or self._rows:
            key = self._key(hour, source, segment, arm)
            before = self.partials.merged.get(key)
            counted[key] = self._one if before is None else before + self._one
        self._take_in(source, hour, counted)

    def learn_new(self, first: int, end: int) -> None:
        """Take in one decision of each row in each of some new hours, those of a partition at once."""
        for source in range(PARTITIONS):
            hours = [hour for hour in range(first, end) if hour % PARTITIONS == source]
            keys = (self._key(hour, source, *row) for hour in hours for row in self._rows)
            if hours:
                self._take_in(source, hours[-1], dict.fromkeys(keys, self._one))

    def _key(self, hour: int, source: int, segment: str, arm: str) -> PartialKey:
        definition = self.definition
        return PartialKey(RowKey(definition.name, definition.generation, segment, arm, FIRST_HOUR + hour), source)

    def _take_in(self, source: int, hour: int, rows: Mapping[PartialKey, Statistics]) -> None:
        self._offset += 1
        for key, row in rows.items():
            self.partials.stage(key, self._offset, row)
        pieces = self.partials.marking(source, Mark(self._offset, (FIRST_HOUR + hour) * HOUR_MS))
        while True:
            began_s = time.thread_time()
            group = next(pieces, None)
            self.held_s = max(self.held_s, time.thread_time() - began_s)
            if group is None:
                break
        self._store.write(self._unwritten, [])
        self._unwritten.clear()

    def publish(self) -> int:
        """Make the next snapshot; return how long it is."""
        began_s = time.thread_time()
        cut = self.partials.cut()
        self.held_s = max(self.held_s, time.thread_time() - began_s)
        aged = cut.aged_rows()
        if not self.partials.keep(cut, aged):
            raise SystemExit("nothing was erased, and all rows had to be read again")
        return len(divide(snapshot_fields(self.definition, aged, cut.marks, 1, "", None, self._known)).record)

    def correct(self, hour: int) -> None:
        """Correct something that is old."""
        self.learn(hour * 5 // 7, hour % PARTITIONS, self._rows[hour % len(self._rows) :][:1])


def _played(case: Case, days: Sequence[int], repetitions: int) -> Iterator[Point]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        rows = stack.enter_context(scratch_rows(folder / "rows"))
        publisher = _Publisher(case, rows)
        hour = 0
        for age in days:
            last = age * DAY_HOURS - 1
            while hour < last:
                end = min(hour + DAY_HOURS, last)
                publisher.learn_new(hour, end)
                publisher.correct(hour)
                publisher.partials.aged_rows()
                hour = end
            yield from _measured(case, publisher, age, hour, repetitions)
            hour += repetitions
        _check(publisher, rows)


def _measured(case: Case, publisher: _Publisher, age: int, hour: int, repetitions: int) -> Iterator[Point]:
    """Measure at the beginning of some hours, and within them."""
    new, following, held = [], [], []
    for repetition in range(repetitions):
        publisher.held_s = 0.0
        publisher.learn(hour + repetition, repetition % PARTITIONS)
        new.append(_cpu_us(publisher.publish))
        publisher.learn(hour + repetition, repetition % PARTITIONS)
        publisher.publish()
        taken = []
        for number in range(TIMES):
            publisher.learn(hour + repetition, number % PARTITIONS)
            taken.append(_cpu_us(publisher.publish))
        following.append(median(taken))
        held.append(publisher.held_s * 1e6)
    for what, curve, values in ((NEXT, "flat", following), (NEW_BUCKET, "", new), (HELD, "flat", held)):
        name = f"publish after {age} days, {case.name}: {what}"
        peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        yield Point(f"{case.name}: {what}", curve, age, Row(name, "µs", tuple(values), peak_rss_mib=peak_mib))


def _cpu_us(step: Callable[[], object]) -> float:
    began_s = time.process_time()
    step()
    return (time.process_time() - began_s) * 1e6


def _check(publisher: _Publisher, store: ScratchRows) -> None:
    """Hold what was kept up with changes against all rows of the store."""
    definition = publisher.definition
    merged: Mapping[PartialKey, Statistics] = StoredPartials(store, {}, definition.name, definition.generation)
    anew = AgedRows((key.row, row) for key, row in merged.items())
    kept = publisher.partials.aged_rows()
    if kept.rows() != anew.rows() or kept.ever != anew.ever:
        raise SystemExit("what was kept up with changes is not what all rows come to")
