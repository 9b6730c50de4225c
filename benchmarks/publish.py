"""Publish a large policy: merge and posterior, the bytes of a snapshot, what only changed rows cost, a node's loading.

Right if the snapshot has the hash of sums that were hashed apart, and if what goes on from the snapshot before is, put
together, the same as what is derived from nothing.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from benchmarks.expected import sha256
from benchmarks.load import ONE, plain_policy, policy
from benchmarks.report import Row
from benchmarks.timing import own_peak_mib, timed
from pipeline.learn.memory import RowKey
from pipeline.models.sums.statistics import Statistics, contributions
from pipeline.policy.definition import PolicyDefinition
from pipeline.publish.aged_rows import AgedRows
from pipeline.publish.derivation import Derivation
from pipeline.publish.partials import Mark, PartialKey, Partials
from pipeline.publish.parts import SnapshotContent, divide, whole
from pipeline.publish.snapshot import snapshot_fields
from pipeline.serve.following.snapshot import load_snapshot

SOURCES = 4
CHANGED = 20
"""Rows that have changed between two snapshots."""


class Size(NamedTuple):
    """A policy."""

    arms: int = 1_000
    segments: int = 10
    dimension: int = 32


SMOKE = Size(20, 2, 8)


def measure(size: Size, repetitions: int) -> list[Row]:
    """Measure each step of one snapshot, and of the one after it."""
    definition = policy(size.dimension, arm_count=size.arms, segment_count=size.segments)
    partials = _partials(definition, np.random.default_rng(0))
    rows = list(partials.rows())
    marks = {source: Mark(1, 1) for source in range(SOURCES)}
    changed = _change(rows, min(CHANGED, len(rows)))
    known = Derivation()

    def built(rows: list[tuple[RowKey, Statistics]] | AgedRows, known: Derivation | None) -> SnapshotContent:
        return divide(snapshot_fields(definition, rows, marks, 1, "", None, known))

    first = built(rows, known)
    fields = whole(first)
    _check_hash(size, fields["posterior_sha256"], rows)
    second = built(changed, known)
    # Back and forth between two states, each `CHANGED` rows from the other: each goes on from the other.
    aged = AgedRows(changed)
    less = [(key, before - after) for (key, before), (_, after) in zip(rows, changed, strict=True) if before != after]
    changes = [[(key, Statistics(row.dimension, -row.sums)) for key, row in less], less]

    def gone_on() -> None:
        changes.reverse()
        aged.change(changes[0])
        built(aged, known)

    if whole(second) != whole(built(changed, None)):
        raise SystemExit("what goes on from the snapshot before is not what is derived from nothing")
    fresh = [part for name, part in second.parts.items() if name not in first.parts]
    name = f"publish, {size.arms:,} arms × {size.segments} segments, d={size.dimension}"
    whole_bytes, fresh_bytes = _bytes(first), len(second.record) + sum(map(len, fresh))
    return [
        timed(f"{name}: partials of {SOURCES} partitions merged", "µs", partials.by_bucket, repetitions),
        timed(f"{name}: whole snapshot built", "µs", lambda: built(rows, None), repetitions),
        timed(f"{name}: the next one, {CHANGED} rows changed", "µs", gone_on, repetitions),
        timed(f"{name}: loaded by a node", "µs", lambda: load_snapshot(first), repetitions),
        Row(f"{name}: bytes of the whole", "B", (float(whole_bytes),), peak_rss_mib=own_peak_mib()),
        Row(f"{name}: bytes sent, {CHANGED} rows changed", "B", (float(fresh_bytes),)),
        Row(f"{name}: largest record", "B", (float(max(map(len, [first.record, *first.parts.values()]))),)),
    ]


def _partials(definition: PolicyDefinition, rng: np.random.Generator) -> Partials:
    """Return what each partition has learned of each arm from 20 decisions."""
    partials = Partials()
    for source in range(SOURCES):
        for segment in definition.segments.names:
            for arm in definition.arm_names:
                X = rng.integers(-4096, 4097, (20, definition.dimension)).astype(np.int16)
                X[:, :1] = 4096
                row = Statistics(definition.dimension, contributions(X, rng.integers(0, 2, 20) * ONE))
                partials.stage(PartialKey(RowKey(definition.name, 1, segment, arm, 0), source), 0, row)
        partials.mark(source, Mark(1, 1))
    return partials


def _change(rows: list[tuple[RowKey, Statistics]], count: int) -> list[tuple[RowKey, Statistics]]:
    """Count some rows, evenly spread, twice."""
    every = len(rows) // count
    return [(key, row + row) if place % every == 0 else (key, row) for place, (key, row) in enumerate(rows)]


def _check_hash(size: Size, found: str, rows: list[tuple[RowKey, Statistics]]) -> None:
    plain = plain_policy(size.dimension, arm_count=size.arms, segment_count=size.segments)
    expected = sha256(plain, {(key.segment, key.arm, key.bucket): row.sums.tolist() for key, row in rows})
    if found != expected:
        raise SystemExit(f"posterior_sha256 is {found}, hashed apart it is {expected}")


def _bytes(content: SnapshotContent) -> int:
    return len(content.record) + sum(map(len, content.parts.values()))
