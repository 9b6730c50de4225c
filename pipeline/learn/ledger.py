"""The fold: ledger records, in order → exact changes of statistics rows. Pure.

A ledger record says what its action has earned in all, so folding it is the difference to what the action
counted for before. Of two records of one action the higher revision counts; of equal revisions, the later.
A record of an action that has expired is a repeat of one folded long ago, and changes nothing: so what an action
counts for may be forgotten from then on, and when it is forgotten changes nothing either. An id that comes again after
that is another action: what is remembered under it counts as forgotten, whether it is yet or not.

A record of the analysis group, or of a decision whose context gave no vector, tells the time and changes nothing else:
nothing is remembered of it, so nothing is taken back either.

An action that is erased takes back what it counts for, once, and for ever counts for nothing. Before it has expired
that is what is remembered of it; from then on it is what its erasure says, if that is final. Both are what this fold
has of it, so an erasure means the same to LEARN, whose memory ends, and to a replay, whose memory does not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from pipeline.errors import StateError
from pipeline.learn.memory import NEVER_MS, Counted, FoldState, RowKey
from pipeline.models.sums.statistics import Integers, Statistics, fold
from pipeline.models.sums.tally import Tally, change, row_of, rows_beside, tallies_from

VECTOR_ITEM_BYTES = 2


class LedgerRecord(NamedTuple):
    """The part of a `reward` record that the fold needs."""

    offset: int
    action_id: str
    key: RowKey
    revision: int
    reward: int
    vector: bytes
    expires_at_ms: int
    event_time_ms: int
    is_erased: bool = False
    is_reward_final: bool = False
    tallies: tuple[Tally, ...] = ()
    is_analysis: bool = False
    is_undecodable: bool = False


def ledger_record(offset: int, fields: Mapping[str, Any]) -> LedgerRecord:
    """Take from a decoded `reward` record what the fold needs."""
    return LedgerRecord(
        offset=offset,
        action_id=fields["action_id"],
        key=RowKey(fields["policy"], fields["generation"], fields["segment"], fields["arm"], fields["bucket"]),
        revision=fields["revision"],
        reward=fields["reward"],
        vector=fields["context_vector"],
        expires_at_ms=fields["expires_at_ms"],
        event_time_ms=fields["event_time_ms"],
        is_erased=fields["is_erased"],
        is_reward_final=fields["is_reward_final"],
        tallies=tallies_from(fields["tallies"]) if fields.get("tallies") else (),
        is_analysis=fields.get("is_analysis", False),
        is_undecodable=fields.get("undecodable", "") != "",
    )


@dataclass(slots=True)
class Fold:
    """What a batch of ledger records changes."""

    deltas: dict[RowKey, Statistics] = field(default_factory=dict)
    """To be added to the statistics rows."""
    counted: dict[str, Counted] = field(default_factory=dict)
    """What each touched action counts for from now on."""


def fold_ledger(records: Sequence[LedgerRecord], counted: Mapping[str, Counted], state: FoldState) -> Fold:
    """Fold records in ledger order; `state` is moved past them, records below its position are passed over.

    Args:
        records: of one partition, in offset order.
        counted: what each action of the records counted for before, where anything is remembered.
        state: of the partition.
    """
    result = Fold()
    groups: dict[RowKey, int] = {}
    changes: list[tuple[int, int, int, int, bytes]] = []
    tallied: dict[RowKey, list[Tally]] = {}
    for record in records:
        if record.offset < state.position:
            continue
        before = result.counted.get(record.action_id) or counted.get(record.action_id)
        after, n, reward_before, reward, tallies = change_of(record, before, state)
        if after is not None:
            result.counted[record.action_id] = after
        for tally in tallies:
            if tally.width:
                tallied.setdefault(record.key._replace(tally=tally.row), []).append(tally)
        if n or reward != reward_before:
            # An erasure may not say where it counted; it is where it ever was.
            beside = record.tallies or (() if before is None else before.tallies)
            for name in ("", *rows_beside(beside)) if beside else ("",):
                group = groups.setdefault(record.key._replace(tally=name) if name else record.key, len(groups))
                changes.append((group, n, reward - reward_before, reward**2 - reward_before**2, record.vector))
    if changes:
        *columns, vectors = zip(*changes, strict=True)
        result.deltas = sum_changes(np.array(columns, np.int64), vectors, list(groups))
    result.deltas.update((key, row_of(parts, parts[0].width)) for key, parts in tallied.items())
    return result


Change = tuple[Counted | None, int, int, int, tuple[Tally, ...]]
"""What an action counts for now (None: as before), Δn, r0 and r1, and the change of its tallies."""


def change_of(record: LedgerRecord, before: Counted | None, state: FoldState) -> Change:
    """Move `state` past one record; return what it changes."""
    is_expired = record.expires_at_ms < state.watermark_ms
    if before is not None and is_of_another(record, before, state.watermark_ms):
        before = None
    state.position = record.offset + 1
    state.watermark_ms = max(state.watermark_ms, record.event_time_ms)
    if record.is_analysis or record.is_undecodable:
        return None, 0, 0, 0, ()
    if before is not None and record.revision < before.revision:
        return None, 0, 0, 0, ()
    if record.is_erased:
        return _erasure(record, before, is_expired=is_expired)
    if is_expired:
        return None, 0, 0, 0, ()
    after = Counted(record.revision, record.reward, record.expires_at_ms, record.tallies)
    if before is None:
        return after, 1, 0, record.reward, record.tallies
    return after, 0, before.reward, record.reward, change(before.tallies, record.tallies)


def is_of_another(record: LedgerRecord, before: Counted, watermark_ms: int) -> bool:
    """Whether what is remembered under a record's id is of an earlier action, over when this one began.

    All records of one action say the same expiry, and JOIN takes an id anew only when event time has come to that of
    the action before. An erasure that reaches whatever is remembered (a replay's) is of no other.
    """
    over_ms = before.expires_at_ms
    if over_ms in (record.expires_at_ms, NEVER_MS) or record.expires_at_ms == NEVER_MS:
        return False
    return over_ms < watermark_ms or over_ms <= record.event_time_ms


def _erasure(record: LedgerRecord, before: Counted | None, *, is_expired: bool) -> Change:
    if before is not None and before.is_erased:
        return None, 0, 0, 0, ()
    after = Counted(record.revision, 0, NEVER_MS)
    if is_expired:
        # What is remembered may be forgotten already, so it is not asked.
        if not record.is_reward_final:
            return None, 0, 0, 0, ()
        return after, -1, record.reward, 0, change(record.tallies, ())
    return (after, 0, 0, 0, ()) if before is None else (after, -1, before.reward, 0, change(before.tallies, ()))


def sum_changes(columns: Integers, vectors: Sequence[bytes], keys: Sequence[RowKey]) -> dict[RowKey, Statistics]:
    """Sum the changes by row, one matrix product a row, for each context dimension among them.

    Args:
        columns: (4, m): which of `keys`, Δn, Δr and Δr² of each change.
        vectors: the context of each.
        keys: the rows.
    """
    lengths = np.array([len(vector) for vector in vectors])
    deltas: dict[RowKey, Statistics] = {}
    for length in np.unique(lengths):
        dimension = int(length) // VECTOR_ITEM_BYTES
        chosen = np.flatnonzero(lengths == length)
        index, dn, dr, drr = columns[:, chosen]
        contexts = np.frombuffer(b"".join(vectors[i] for i in chosen.tolist()), dtype="<i2").reshape(
            len(chosen), dimension
        )
        present, compact = np.unique(index, return_inverse=True)
        sums = fold(compact, len(present), dn, dr, drr, contexts)
        for row, at in enumerate(present):
            key = keys[int(at)]
            if key in deltas:
                raise StateError(f"ledger records of {key} have context vectors of two lengths: the ledger is damaged")
            deltas[key] = Statistics(dimension, sums[row])
    return deltas


def merge_deltas(rows: dict[RowKey, Statistics], deltas: Iterable[tuple[RowKey, Statistics]]) -> None:
    """Add changes to rows in place; a row that was not there begins at zero.

    Raises:
        StateError: a row's context dimension differs from its change's.
    """
    for key, delta in deltas:
        row = rows.get(key)
        if row is not None and row.dimension != delta.dimension:
            raise StateError(f"row {key} has dimension {row.dimension}, its ledger records have {delta.dimension}")
        rows[key] = delta if row is None else row + delta
