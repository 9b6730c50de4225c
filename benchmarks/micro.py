"""The hot functions alone, in microseconds of CPU per record."""

from __future__ import annotations

import time
from collections.abc import Callable

from benchmarks.load import Load, policy
from benchmarks.report import Row
from benchmarks.timing import timed
from pipeline.codec.reward import RewardWriter
from pipeline.join.progress import Progress
from pipeline.join.row import ActionRow
from pipeline.join.step import Changes, Limits, decode_arrivals, take
from pipeline.join.stored_row import row_from_bytes, row_to_bytes
from pipeline.learn.columns import fold_piece, pieces
from pipeline.learn.memory import FoldState
from pipeline.policy.book import PolicyBook

BATCH = 1_000
"""A step of JOIN takes what fits 2 MiB of rows: more than that would be cut off."""


class NoRows:
    """A store without rows: the step alone is measured."""

    def load(self, action_ids: object) -> dict[str, ActionRow]:
        """Return nothing."""
        del action_ids
        return {}

    def due(self, until_ms: int, limit: int) -> list[tuple[int, str]]:
        """Return nothing."""
        del until_ms, limit
        return []


def measure(dimension: int, encoding: str, repetitions: int) -> list[Row]:
    """Measure each function on one batch."""
    load = Load(BATCH, dimension, encoding, seed=0)
    now_ms = int(time.time() * 1000)
    decisions = [record for record in load.records() if record.topic == "decisions"]
    records = [(offset, now_ms, record.key, record.value) for offset, record in enumerate(decisions)]
    book = PolicyBook()
    book.put(policy(dimension))

    def joined() -> Changes:
        return take("decisions", arrivals, Progress(), NoRows(), book, Limits())

    arrivals = decode_arrivals("decisions", records, {})
    changes = joined()
    if len(changes.rewards) != BATCH:
        raise SystemExit(f"{len(changes.rewards)} ledger records of {BATCH} decisions")
    rows = [row for row in changes.rows.values() if row is not None]
    stored = [(row_to_bytes(row), action_id) for action_id, row in changes.rows.items() if row is not None]
    if [row_from_bytes(*one).raw for one in stored] != [record.value for record in decisions]:
        raise SystemExit("stored rows do not hold their decisions")
    ledger = written(changes)
    (piece,) = pieces(list(enumerate(ledger)))
    nothing = [None] * len(piece.action_ids)
    name = f"d={dimension}, {encoding}"
    steps: dict[str, Callable[[], object]] = {
        f"decode and check, {name}": lambda: decode_arrivals("decisions", records, {}),
        f"join step, {name}": joined,
        f"row to bytes, {name}": lambda: [row_to_bytes(row) for row in rows],
        f"row from bytes, {name}": lambda: [row_from_bytes(*one) for one in stored],
        f"ledger record to bytes, {name}": lambda: written(changes),
        f"ledger record from bytes, {name}": lambda: list(pieces(list(enumerate(ledger)))),
        f"fold, {name}": lambda: fold_piece(piece, nothing, (), FoldState()),
    }
    return [timed(what, "µs/record", step, repetitions, records=BATCH) for what, step in steps.items()]


def written(changes: Changes) -> list[bytes]:
    """Return a step's ledger records as they are sent."""
    writer = RewardWriter()
    return [writer.write(reward) for reward in changes.rewards]
