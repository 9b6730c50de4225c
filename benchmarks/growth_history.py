"""Bytes that `snapshot-history` takes of one policy, day by day, where a snapshot comes every second.

    the first day   what the budget has at once, and what it gets in a day
    each other day  what it gets in a day, and outlines: the same on the thirtieth day as on the second

The clock is an argument of the budget's rule, so a month takes seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from benchmarks.load import ONE, policy
from benchmarks.report import Row
from pipeline.codec import avro
from pipeline.learn.memory import RowKey
from pipeline.models.sums.statistics import Statistics, contributions
from pipeline.publish.outline import Left, if_whole, outline_of
from pipeline.publish.partials import Mark
from pipeline.publish.snapshot import build_snapshot

DAYS = 30
DAY_S = 86_400
CASES = ((5, 37), (10, 0))
"""Arms, and entries of the context."""


class Day(NamedTuple):
    """What one day has added."""

    whole: int
    """Snapshots that were kept whole."""
    size_bytes: int


def measure(days: int = DAYS) -> list[Row]:
    """Tell each case."""
    rows: list[Row] = []
    for arms, dimension in CASES:
        content = _snapshot(arms, dimension)
        fields = avro.decode_as("snapshot", content)
        outline = outline_of(content, fields)
        found = _play(fields, len(content), len(outline), days)
        name = f"growth, history of {arms} arms, d={dimension}, a snapshot a second"
        rows += [
            Row(f"{name}: a snapshot", "B", (float(len(content)),)),
            Row(f"{name}: its outline", "B", (float(len(outline)),)),
            Row(f"{name}: all of a day, kept whole", "MB", (DAY_S * len(content) / 1e6,)),
            Row(f"{name}: day 1", "MB", (found[0].size_bytes / 1e6,)),
            Row(f"{name}: day 2", "MB", (found[1].size_bytes / 1e6,)),
            Row(f"{name}: whole snapshots of day 2", "", (float(found[1].whole),)),
            Row(f"{name}: day {days} / day 2, stated 1", "", (found[-1].size_bytes / found[1].size_bytes,)),
        ]
    return rows


def _play(fields: dict[str, object], whole_bytes: int, outline_bytes: int, days: int) -> Sequence[Day]:
    left: Left | None = None
    found = []
    for day in range(days):
        whole = 0
        for second in range(day * DAY_S, (day + 1) * DAY_S):
            if (after := if_whole(left, fields, whole_bytes, 1_000 * second)) is not None:
                left, whole = after, whole + 1
        found.append(Day(whole, whole * whole_bytes + (DAY_S - whole) * outline_bytes))
    return found


def _snapshot(arms: int, dimension: int) -> bytes:
    rng = np.random.default_rng(0)
    rows = []
    for arm in range(arms):
        X = rng.integers(0, 2, (1_000, dimension)).astype(np.int16) * 4096
        sums = contributions(X, rng.integers(0, 2, 1_000) * ONE)
        rows.append((RowKey("bench", 1, "all", f"arm-{arm}", 0), Statistics(dimension, sums)))
    definition = policy(dimension, arm_count=arms)
    return build_snapshot(definition, rows, {source: Mark(1_000_000, 1) for source in range(4)}, 1_000, "ab" * 32)
