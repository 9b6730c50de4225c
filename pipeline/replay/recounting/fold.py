"""Ledger records folded into what a replay keeps. Pure: rows are handed in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.errors import StateError
from pipeline.learn.ledger import LedgerRecord, fold_ledger, ledger_record, merge_deltas
from pipeline.learn.memory import (
    NEVER_MS,
    FoldState,
    counted_bytes,
    counted_from_bytes,
    statistics_from_bytes,
    statistics_to_bytes,
)
from pipeline.replay.recounting.plan import ReplayPlan
from pipeline.replay.recounting.rows import COUNTED, SUMS, ReplayRows


def is_counted(fields: Mapping[str, Any], plan: ReplayPlan) -> bool:
    """Return whether the plan counts what a ledger record tells."""
    return fields["policy"] == plan.definition.name and fields["generation"] in plan.generations


def record_of(offset: int, fields: Mapping[str, Any], plan: ReplayPlan) -> LedgerRecord:
    """Take a ledger record into the plan's generation and buckets."""
    definition = plan.definition
    record = ledger_record(offset, fields)
    bucket = fields["decided_at_ms"] // definition.bucket_ms
    record = record._replace(key=record.key._replace(generation=definition.generation, bucket=bucket))
    # What is erased is taken back from memory, which does not end here.
    return record._replace(expires_at_ms=NEVER_MS) if record.is_erased else record


def folded(
    records: Sequence[LedgerRecord], state: FoldState, rows: ReplayRows, plan: ReplayPlan
) -> dict[bytes, bytes | None]:
    """Fold records and return the rows that this changes; `state` is moved past them."""
    ids = list(dict.fromkeys(record.action_id for record in records))
    stored = rows.get_many([COUNTED + action_id.encode() for action_id in ids])
    known = {one: value for one, value in zip(ids, stored, strict=True) if value is not None}
    vectors = {one: value[counted_bytes(value) :] for one, value in known.items()}
    own = []
    for record in records:
        if record.is_erased:
            record = record._replace(vector=vectors.get(record.action_id, b""))  # noqa: PLW2901  it names no context
        else:
            vectors[record.action_id] = record.vector
        own.append(record)
    fold = fold_ledger(own, {one: counted_from_bytes(value) for one, value in known.items()}, state)
    keys = list(fold.deltas)
    before = rows.get_many([SUMS + key.to_bytes() for key in keys])
    sums = {key: statistics_from_bytes(value) for key, value in zip(keys, before, strict=True) if value is not None}
    merge_deltas(sums, fold.deltas.items())
    dimension_of = plan.definition.dimension_of
    strange = [key for key, row in sums.items() if not key.tally and row.dimension != dimension_of(key.arm)]
    if strange:
        raise StateError(f"{strange[0]} was learned with another context: the ledger is damaged")
    changed: dict[bytes, bytes | None] = {
        # Of an erased action nothing is kept but that it is.
        COUNTED + one.encode(): counted.to_bytes() + (b"" if counted.is_erased else vectors[one])
        for one, counted in fold.counted.items()
    }
    changed |= {SUMS + key.to_bytes(): statistics_to_bytes(row) for key, row in sums.items()}
    return changed
