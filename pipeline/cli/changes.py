"""The difference of two snapshots, for people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson
from rich.table import Table
from rich.text import Text

from pipeline.replay.proof.diff import ABSENT, ON_OFFER, RETIRED, Count, SnapshotDiff


def in_words(found: SnapshotDiff) -> Iterator[str]:
    """Yield a line for each difference but the counts."""
    words = {ON_OFFER: "added", RETIRED: "added, already retired", ABSENT: "gone"}
    for again in found.rollbacks:
        yield f"version {again.version} is the content of version {again.of}, published again"
    yield "definition:" if found.arms or found.definition else "definition: the same"
    for arm in found.arms:
        is_kept = ABSENT not in (arm.before, arm.after)
        yield f"  arm {arm.arm}: " + (f"{arm.before} → {arm.after}" if is_kept else words[arm.after])
    for change in found.definition:
        yield f"  {change.where}: {_value(change.before)} → {_value(change.after)}"
    yield "ledger:" if found.offsets else "ledger: the same offsets"
    for move in found.offsets:
        yield f"  partition {move.partition}: {move.before} → {move.after} ({move.after - move.before:+,})"
    if not found.counts:
        yield "counts and reward sums: the same"
    yield f"posterior: {'the same' if found.is_posterior_equal else 'another'}"


def count_table(found: SnapshotDiff) -> Table:
    """Return the counts and sums that differ."""
    table = Table("segment", "arm", "count", "reward sum", "mean")
    for change in found.counts:
        rows = [_count_cells(count) for count in (change.before, change.after)]
        cells = (old if old == new else f"{old} → {new}" for old, new in zip(*rows, strict=True))
        table.add_row(Text(change.segment), Text(change.arm), *cells)
    return table


def _count_cells(count: Count | None) -> tuple[str, str, str]:
    if count is None:
        return ("–", "–", "–")
    return (
        f"{count.counted:,}",
        f"{float(count.reward_sum):,.10g}",
        "–" if count.mean is None else f"{count.mean:.5f}",
    )


def _value(value: Any) -> str:
    return "not there" if value is None else orjson.dumps(value).decode()
