"""Bytes of the ledger, and of JOIN's rows, by how many outcomes one action has, each read in a step of its own.

    ledger          on a line: each record tells what is new, and the one that settles tells all once more
    rows            square: a row is written whole whenever it changes, which is why outcomes of an action are bounded

Sizes of bytes are the same in every run and on every machine.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import orjson

from benchmarks.report import Row
from pipeline.codec.reward import RewardWriter
from pipeline.join.progress import DECISIONS, OUTCOMES, Progress
from pipeline.join.row import ActionRow
from pipeline.join.step import Limits, advance, decode_arrivals, take
from pipeline.join.stored_row import row_to_bytes
from pipeline.join.stored_rows import StoredRows
from pipeline.policy.book import PolicyBook
from pipeline.policy.parsing.parse import parse_policy
from pipeline.stream.state.scratch import ScratchRows, scratch_rows
from pipeline.stream.state.tables import ROW

SIZES = (1, 10, 100, 500, 1_000)
SMOKE = (1, 10, 40)
NOW_MS = 1_700_000_000_000
HOUR_MS = 3_600_000
ACTION_ID = "0199aaaa-0000-7000-8000-000000000001"


class Written(NamedTuple):
    """What one action has written when it is settled."""

    outcomes: int
    ledger_bytes: int
    row_bytes: int
    """Of every version of its row."""


def measure(sizes: Sequence[int]) -> list[Written]:
    """Let actions of so many outcomes be decided, credited and settled."""
    return [_play(size) for size in sizes]


def rows_of(found: Sequence[Written]) -> list[Row]:
    """Tell each, and how far the largest is from the line through the two smallest."""
    rows = [
        Row(f"growth, {one.outcomes:,} outcomes of an action: {what}", "B", (float(size),))
        for one in found
        for what, size in (("ledger", one.ledger_bytes), ("rows written", one.row_bytes))
    ]
    first, second, last = found[0], found[1], found[-1]
    slope = (second.ledger_bytes - first.ledger_bytes) / (second.outcomes - first.outcomes)
    stated = first.ledger_bytes + slope * (last.outcomes - first.outcomes)
    name = f"ledger bytes, by outcomes: measured / stated (line) at {last.outcomes:,}"
    return [*rows, Row(name, "", (last.ledger_bytes / stated,))]


def _play(count: int) -> Written:
    book = PolicyBook()
    book.put(parse_policy(_POLICY, "growth"))
    progress, writer = Progress(), RewardWriter()
    ledger_bytes = row_bytes = 0
    with tempfile.TemporaryDirectory() as folder, scratch_rows(Path(folder) / "rows") as rows:
        actions = StoredRows(rows, ROW)
        for stream, offset, raw in _events(count):
            arrivals = decode_arrivals(stream, [(offset, NOW_MS, b"", raw)], {})
            changes = take(stream, arrivals, progress, actions, book, Limits())
            if changes.refusals:
                raise SystemExit(f"an event was refused: {changes.refusals[0].error}")
            ledger_bytes += sum(len(writer.write(one)) for one in changes.rewards)
            row_bytes += _write(rows, changes.rows)
        progress.watermarks_ms = dict.fromkeys((DECISIONS, OUTCOMES), NOW_MS + HOUR_MS)
        settled = advance(progress, frozenset(), actions, book, 1)
        if settled is None or [one.revision for one in settled.rewards] != [2 + count]:
            raise SystemExit("the action has not settled with all its outcomes")
        ledger_bytes += sum(len(writer.write(one)) for one in settled.rewards)
        row_bytes += _write(rows, settled.rows)
    return Written(count, ledger_bytes, row_bytes)


def _events(count: int) -> Iterator[tuple[str, int, bytes]]:
    decision = {"action_id": ACTION_ID, "policy": "growth", "segment": "all", "arm": "a", "propensity": 0.5}
    yield DECISIONS, 0, orjson.dumps(decision | {"decided_at_ms": NOW_MS})
    for number in range(count):
        outcome = {"outcome_id": f"0199bbbb-0000-7000-8000-{number:012d}", "action_id": ACTION_ID, "kind": "page"}
        yield OUTCOMES, number, orjson.dumps(outcome | {"occurred_at_ms": NOW_MS + number})


def _write(rows: ScratchRows, changed: dict[str, ActionRow | None]) -> int:
    """Write rows as JOIN does; return their bytes."""
    written: dict[bytes, bytes | None] = {}
    due: list[tuple[int, bytes, bool]] = []
    for action_id, row in changed.items():
        if row is None:
            continue
        row_id = action_id.encode()
        written[ROW + row_id] = row_to_bytes(row)
        if row.stored_due_ms is not None and row.stored_due_ms != row.due_ms:
            due.append((row.stored_due_ms, row_id, False))
        due.append((row.due_ms, row_id, True))
    rows.write(written, due)
    return sum(len(value or b"") for value in written.values())


_POLICY = {
    "name": "growth",
    "arms": [{"name": "a"}, {"name": "b"}],
    "segments": {"default": "all"},
    "algorithm": {"name": "beta_thompson"},
    "reward": {
        "low": 0.0,
        "high": 1.0,
        "combine": "sum",
        "cap": 1.0,
        "outcomes": [{"kind": "page", "worth": 0.01, "window": "1h"}],
    },
    "attribution": {"settle": "optimistic", "grace": "1h"},
}
