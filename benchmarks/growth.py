"""Cost of an event, as what is held grows: each case beside the curve that its arithmetic says.

    open actions    flat: a row is found by its key, in RocksDB; its blocks are cached or read. (An outcome from
                    100,000 rows on: fewer are all in the write buffer, which is half the way.)
    arms, segments  linear for a step of LEARN, until each event of it touches a row of its own; then flat
    features        square: Σxxᵀ has d (d + 1) / 2 entries
    partitions      linear for a merge of all rows, as when a partition is opened: as many partials a row
    policies        flat: a policy is found by its name (each is checked once a step, which shows where a step has as
                    many policies as it has dozens of records)
    arms, deciding  linear: every arm has a probability

The case's value at the smallest size that its curve is stated for is the curve's start; told beside is the largest
measured over stated.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.load import ONE, Load, policy
from benchmarks.process import rss_mib
from benchmarks.report import Row
from benchmarks.timing import timed
from pipeline.join.progress import Progress
from pipeline.join.row import ActionRow
from pipeline.join.step import Arrival, Changes, Limits, decode_arrivals, take
from pipeline.join.stored_row import row_to_bytes
from pipeline.join.stored_rows import StoredRows
from pipeline.learn.ledger import LedgerRecord, fold_ledger
from pipeline.learn.memory import FoldState, RowKey, statistics_to_bytes
from pipeline.models.sums.statistics import Statistics, contributions
from pipeline.policy.book import PolicyBook
from pipeline.publish.partials import Mark, PartialKey, Partials
from pipeline.publish.snapshot import build_snapshot
from pipeline.serve.decision.decide import decide
from pipeline.serve.following.snapshot import load_snapshot
from pipeline.stream.state.scratch import ScratchRows, scratch_rows
from pipeline.stream.state.tables import ROW

BATCH = 250
"""A step of JOIN takes what fits 2 MiB of rows."""
WRITTEN = 10_000
TIMES = 4
IN_FILES = 100_000
"""So many rows are more than RocksDB's write buffer holds."""
WINDOW_MS = 600_000
SETTLED_WITHIN_S = 60.0
CURVES = {"flat": lambda _: 1.0, "linear": lambda x: x, "square": lambda x: x * (x + 1) / 2}


class Point(NamedTuple):
    """One case at one size."""

    case: str
    curve: str
    """A name of `CURVES`, or none."""
    size: int
    row: Row


class Sizes(NamedTuple):
    """How far each axis goes."""

    open_actions: Sequence[int] = (10_000, 100_000, 1_000_000)
    arms: Sequence[int] = (10, 100, 1_000, 10_000)
    segments: Sequence[int] = (1, 10, 100, 1_000)
    features: Sequence[int] = (8, 16, 32, 64, 128, 256)
    partitions: Sequence[int] = (4, 16, 64, 256)
    policies: Sequence[int] = (1, 10, 100)


SMOKE = Sizes((1_000, 2_000), (10, 20), (1, 2), (8, 16), (2, 4), (1, 2))


def measure(sizes: Sizes, repetitions: int) -> list[Point]:
    """Measure every axis."""
    return [
        *_open_actions(sizes.open_actions, repetitions),
        *_folds("arms", [(size, size, 1, 16) for size in sizes.arms], "", repetitions),
        *_folds("segments", [(size, 10, size, 16) for size in sizes.segments], "", repetitions),
        *_folds("features", [(size, 10, 1, size) for size in sizes.features], "square", repetitions),
        *_merges(sizes.partitions, repetitions),
        *_policies(sizes.policies, repetitions),
        *_decisions(sizes.arms, repetitions),
    ]


def rows_of(points: Sequence[Point]) -> list[Row]:
    """Tell every point, and each case's largest against its curve."""
    rows = [point.row for point in points]
    for case in dict.fromkeys(point.case for point in points if point.curve):
        some = [point for point in points if point.case == case and point.curve]
        rows.append(
            Row(f"{case}: measured / stated ({some[0].curve}) at {some[-1].size:,}", "", (against_curve(some),))
        )
    return rows


def against_curve(points: Sequence[Point]) -> float:
    """Return how far the last point is above the curve through the first; below 1 it is better."""
    first, last = points[0], points[-1]
    stated = CURVES[first.curve](last.size) / CURVES[first.curve](first.size)
    return last.row.median / first.row.median / stated


def _open_actions(sizes: Sequence[int], repetitions: int) -> Iterator[Point]:
    book = PolicyBook()
    book.put(policy(16))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        rows = stack.enter_context(scratch_rows(folder / "rows"))
        actions = StoredRows(rows, ROW)
        rng = np.random.default_rng(0)
        templates, due_ms = _templates(book)
        filled, numbers = 0, iter(range(1_000_000_000))
        for size in sizes:
            _fill(rows, filled, size, templates, due_ms)
            _settle()
            filled = size

            # Made beforehand, of actions anywhere among the rows: one batch for each time that a step is run.
            runs = 1 + repetitions * TIMES
            chosen = [rng.choice(size, BATCH, replace=False).tolist() for _ in range(runs)]
            outcomes = iter([_outcomes(some, due_ms, next(numbers)) for some in chosen])
            decisions = iter([_decisions_of(book, next(numbers)) for _ in range(runs)])

            def outcomes_joined(outcomes: Iterator[Sequence[Arrival]] = outcomes) -> None:
                found = _join("outcomes", next(outcomes), actions, book, rows)
                if not all(row and row.outcomes for row in found.rows.values()):
                    raise SystemExit("an outcome was not credited")

            def decisions_joined(decisions: Iterator[Sequence[Arrival]] = decisions) -> None:
                _join("decisions", next(decisions), actions, book, rows)

            name = f"growth, {size:,} open actions"
            yield Point(
                "JOIN takes an outcome, by open actions",
                "flat" if size >= IN_FILES else "",
                size,
                timed(f"{name}: an outcome joined", "µs", outcomes_joined, repetitions, times=TIMES, records=BATCH),
            )
            yield Point(
                "JOIN takes a decision, by open actions",
                "flat",
                size,
                timed(f"{name}: a decision joined", "µs", decisions_joined, repetitions, times=TIMES, records=BATCH),
            )
            disk = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / size
            yield Point(
                "disk", "", size, Row(f"{name}: RocksDB on disk, for a row of {len(templates[0])} bytes", "B", (disk,))
            )
            yield Point("rss", "", size, Row(f"{name}: memory of the process", "MiB", (rss_mib(os.getpid()),)))


def _templates(book: PolicyBook) -> tuple[list[bytes], int]:
    """Return stored rows of a batch of decisions, and when they fall due: no two of a block of RocksDB are the same."""
    changes = take("decisions", _decisions_of(book, 0), Progress(), _NoRows(), book, Limits())
    rows = [row for row in changes.rows.values() if row is not None]
    due_ms = max(row.due_ms for row in rows)
    return [row_to_bytes(replace(row, due_ms=due_ms, decided_at_ms=due_ms - WINDOW_MS)) for row in rows], due_ms


def _fill(rows: ScratchRows, start: int, end: int, values: Sequence[bytes], due_ms: int) -> None:
    for first in range(start, end, WRITTEN):
        numbers = range(first, min(end, first + WRITTEN))
        written: dict[bytes, bytes | None] = {
            ROW + b"action-%09d" % number: values[number % len(values)] for number in numbers
        }
        rows.write(written, [(due_ms, b"action-%09d" % number, True) for number in numbers])


def _settle() -> None:
    """Wait until RocksDB has compacted: its threads' time would be counted as the step's."""
    deadline_s = time.monotonic() + SETTLED_WITHIN_S
    while time.monotonic() < deadline_s:
        before_s = time.process_time()
        time.sleep(0.2)
        if time.process_time() - before_s < 0.01:
            return


def _decisions_of(book: PolicyBook, number: int) -> Sequence[Arrival]:
    """Return a batch of new decisions, of all policies in turn."""
    names = [definition.name.encode() for definition in book]
    load = Load(BATCH, 16, "json", seed=number, lead_ms=60_000, first=100_000_000 + number * BATCH)
    decisions = [record for record in load.records() if record.topic == "decisions"]
    records = [
        (
            place,
            round(time.time() * 1000),
            record.key,
            record.value.replace(b'"bench"', b'"%s"' % names[place % len(names)]),
        )
        for place, record in enumerate(decisions)
    ]
    return decode_arrivals("decisions", records, {})


def _outcomes(numbers: Sequence[int], due_ms: int, turn: int) -> Sequence[Arrival]:
    at_ms = due_ms - WINDOW_MS
    values = [
        b'{"outcome_id":"o-%d-%d","action_id":"action-%09d","kind":"click","occurred_at_ms":%d}' % (turn, n, n, at_ms)
        for n in numbers
    ]
    return decode_arrivals("outcomes", [(place, due_ms, None, value) for place, value in enumerate(values)], {})


def _join(
    stream: str, arrivals: Sequence[Arrival], actions: StoredRows, book: PolicyBook, rows: ScratchRows
) -> Changes:
    changes = take(stream, arrivals, Progress(), actions, book, Limits())
    if len(changes.rewards) != BATCH:
        raise SystemExit(f"{len(changes.rewards)} ledger records of {BATCH} {stream}")
    rows.write({ROW + id_.encode(): row and row_to_bytes(row) for id_, row in changes.rows.items()}, [])
    return changes


class _NoRows:
    """A store without rows."""

    def load(self, action_ids: object) -> dict[str, ActionRow]:
        """Return nothing."""
        del action_ids
        return {}

    def due(self, until_ms: int, limit: int) -> list[tuple[int, str]]:
        """Return nothing."""
        del until_ms, limit
        return []


def _folds(axis: str, cases: Iterable[tuple[int, int, int, int]], curve: str, repetitions: int) -> Iterator[Point]:
    """Fold a step of LEARN of 1,000 records and write the rows that it touched: `cases` are size, arms, segments, d."""
    rng = np.random.default_rng(0)
    count = 1_000
    for size, arms, segments, dimension in cases:
        X = rng.integers(-4096, 4097, (count, dimension)).astype("<i2")
        keys = [RowKey("bench", 1, f"segment-{s}", f"arm-{a}", 0) for s in range(segments) for a in range(arms)]
        chosen = rng.integers(0, len(keys), count).tolist()
        rewards = (rng.integers(0, 2, count) * ONE).tolist()
        records = [
            LedgerRecord(place, f"action-{place}", keys[key], 1, reward, X[place].tobytes(), 1 << 50, 1)
            for place, (key, reward) in enumerate(zip(chosen, rewards, strict=True))
        ]

        def folded(records: Sequence[LedgerRecord] = records) -> Mapping[RowKey, Statistics]:
            deltas = fold_ledger(records, {}, FoldState()).deltas
            for row in deltas.values():
                statistics_to_bytes(row)
            return deltas

        naive = (X[:, :].astype(np.int64).T @ X.astype(np.int64))[np.triu_indices(dimension)]
        if not np.array_equal(sum(row.sums[3 + dimension :] for row in folded().values()), naive):
            raise SystemExit("the sums are not those of a plain matrix product")
        row = timed(f"growth, {size:,} {axis}: an event folded", "µs", folded, repetitions, times=3, records=count)
        yield Point(f"LEARN folds an event, by {axis}", curve, size, row)


def _merges(sizes: Sequence[int], repetitions: int) -> Iterator[Point]:
    """Merge 100 rows of d = 16 over their partials."""
    one = Statistics(16, contributions(np.ones((1, 16), np.int16), [ONE]))
    for size in sizes:
        partials = Partials()
        for source in range(size):
            for arm in range(100):
                partials.stage(PartialKey(RowKey("bench", 1, "all", f"arm-{arm}", 0), source), 0, one)
            partials.mark(source, Mark(1, 1))

        def merged(partials: Partials = partials) -> list[tuple[RowKey, Statistics]]:
            return partials.by_bucket()

        if any(row.n != size for _, row in merged()):
            raise SystemExit("a merged row has not one of each partition")
        row = timed(f"growth, {size:,} partitions: 100 rows merged", "µs", merged, repetitions, times=5)
        yield Point("PUBLISH merges, by partitions", "linear", size, row)


def _policies(sizes: Sequence[int], repetitions: int) -> Iterator[Point]:
    for size in sizes:
        book = PolicyBook()
        for number in range(size):
            book.put(policy(16, name="bench" if size == 1 else f"bench-{number}"))
        arrivals = _decisions_of(book, 0)

        def taken(arrivals: Sequence[Arrival] = arrivals, book: PolicyBook = book) -> Changes:
            return take("decisions", arrivals, Progress(), _NoRows(), book, Limits())

        if len(taken().rewards) != BATCH:
            raise SystemExit("a decision was refused")
        row = timed(
            f"growth, {size:,} policies: a decision joined", "µs", taken, repetitions, times=TIMES, records=BATCH
        )
        yield Point("JOIN takes a decision, by policies", "flat", size, row)


def _decisions(sizes: Sequence[int], repetitions: int) -> Iterator[Point]:
    rng = np.random.default_rng(0)
    for size in sizes:
        definition = policy(0, arm_count=size)
        sums = contributions(np.zeros((50, 0), np.int16), rng.integers(0, 2, 50) * ONE)
        rows = [
            (RowKey("bench", 1, "all", f"arm-{arm}", 0), Statistics(0, sums + np.array([arm % 7, 0, 0])))
            for arm in range(size)
        ]
        snapshot = load_snapshot(build_snapshot(definition, rows, {}, 1, ""))

        def decided(snapshot: object = snapshot) -> None:
            decide(snapshot, "bench", {}, None, rng=rng, action_id="x", now_ms=0)  # type: ignore[arg-type]

        row = timed(f"growth, {size:,} arms: a Beta decision", "µs", decided, repetitions, times=20)
        yield Point("SERVE decides (Beta), by arms", "linear", size, row)
