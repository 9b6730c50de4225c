"""The fold of a batch of the ledger in columns. Pure.

It gives what `fold_ledger` gives: what an action counts for in the end, and the difference to what it counted for
before, whatever lies between. Records of which that can't be said so simply go to `fold_ledger` itself: erasures,
tallies, the analysis group, what is undecodable, actions that are erased or have tallies, an action's records that
disagree about its context or its expiry (an id that came again); and all of a batch in which time has passed over the
expiry of any.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.codec.reward import Names, RewardReader, read_names
from pipeline.codec.reward_columns import Integers, Mask, RewardColumns, read_columns
from pipeline.errors import DecodeError
from pipeline.learn.ledger import Fold, LedgerRecord, fold_ledger, merge_deltas, sum_changes
from pipeline.learn.memory import (
    COUNTED,
    VERSION,
    FoldState,
    RowKey,
    counted_from_bytes,
    tallies_to_bytes,
)
from pipeline.models.sums.statistics import width
from pipeline.models.sums.tally import Tally

STEP_RECORDS = 5_000
STEP_BYTES = 4 << 20
"""Of rows that a step may touch: they become one record batch of the changelog, which the topic bounds at 8 MiB."""
COUNTED_BYTES = 64
"""What an action takes there beside its id and its tallies, at most, and any row beside its key and its sums."""

_UNKNOWN = bytes(COUNTED.itemsize)
"""Stands for an action that counts for nothing yet: no version is 0."""


@dataclass(slots=True)
class Piece:
    """Consecutive records of the ledger that are folded in one step."""

    offsets: Sequence[int]
    raws: Sequence[bytes]
    columns: RewardColumns
    action_ids: list[bytes]
    """Each action once."""
    action: Integers
    """By record: the place of its action there."""
    groups: list[tuple[bytes, int, int]]
    """Names, bucket and length of the context vector, each once."""
    group: Integers
    """By record: the place of its group there."""
    odd: dict[int, LedgerRecord] = field(default_factory=dict)
    """Records that are not plain, by their place."""

    @property
    def bound_bytes(self) -> int:
        """What the rows that it touches take at most."""
        size = sum(map(len, self.columns.action_ids)) + COUNTED_BYTES * len(self.raws)
        rows = {key: width(length // 2) for key, (_, _, length) in zip(self.keys(), self.groups, strict=True)}
        for one in self.odd.values():
            of_sums = width(len(one.vector) // 2)
            rows[one.key] = max(of_sums, rows.get(one.key, 0))
            for tally in one.tallies:
                key = one.key._replace(tally=tally.row)
                rows[key] = max(tally.width or of_sums, rows.get(key, 0))
            size += len(tallies_to_bytes(one.tallies)) if one.tallies else 0
        # As long as they are written: names are most of a row where a policy counts by context.
        return size + sum(len(key.to_bytes()) + 8 * columns + COUNTED_BYTES for key, columns in rows.items())

    def keys(self) -> list[RowKey]:
        """Return the statistics row of each group."""
        return [RowKey(*read_names(names), bucket) if names else _NO_ROW for names, bucket, _ in self.groups]

    def record(self, place: int) -> LedgerRecord:
        """Return one record by itself."""
        return self.odd.get(place) or RecordReader().read(self.offsets[place], self.raws[place])


_NO_ROW = RowKey("", 0, "", "", 0)
"""Of the group that odd records stand in, which nothing is added to."""


class RecordReader:
    """Reads the records of one batch one by one."""

    def __init__(self) -> None:
        self._read = RewardReader().read
        self._keys: dict[tuple[Names, int], RowKey] = {}  # some hundred rows, thousands of records

    def read(self, offset: int, raw: bytes) -> LedgerRecord:
        """Return what the fold needs of a record; raises DecodeError."""
        (
            action_id,
            names,
            bucket,
            revision,
            reward,
            vector,
            expires_ms,
            time_ms,
            is_erased,
            is_final,
            tallies,
            is_analysis,
            undecodable,
        ) = self._read(raw)
        key = self._keys.get((names, bucket))
        if key is None:
            key = self._keys[names, bucket] = RowKey(*names, bucket)
        return LedgerRecord(
            offset,
            action_id,
            key,
            revision,
            reward,
            vector,
            expires_ms,
            time_ms,
            is_erased,
            is_final,
            tuple(Tally(*tally) for tally in tallies),
            is_analysis,
            undecodable != "",
        )


def pieces(records: Sequence[tuple[int, bytes]]) -> Iterator[Piece]:
    """Cut (offset, value) pairs of the ledger into pieces that touch a bounded number of bytes."""
    for start in range(0, len(records), STEP_RECORDS):
        yield from _fitting(records[start : start + STEP_RECORDS])


def _fitting(records: Sequence[tuple[int, bytes]]) -> Iterator[Piece]:
    piece = read_piece(records)
    if piece.bound_bytes > STEP_BYTES and len(records) > 1:
        half = len(records) // 2
        yield from _fitting(records[:half])
        yield from _fitting(records[half:])
    else:
        yield piece


def read_piece(records: Sequence[tuple[int, bytes]]) -> Piece:
    """Read (offset, value) pairs, at least one; raises DecodeError."""
    offsets, raws = zip(*records, strict=True)
    columns = read_columns(raws)
    odd: dict[int, LedgerRecord] = {}
    reader = RecordReader()
    for place in np.flatnonzero(~columns.is_plain).tolist():
        try:
            odd[place] = one = reader.read(offsets[place], raws[place])
        except DecodeError as error:
            raise DecodeError(error.reason, f"at offset {offsets[place]} of the ledger: {error.detail}") from error
        columns.action_ids[place], columns.names[place], columns.vectors[place] = one.action_id.encode(), b"", b""
        columns.bucket[place] = 0
        columns.expires_at_ms[place], columns.event_time_ms[place] = one.expires_at_ms, one.event_time_ms
    actions: dict[bytes, int] = {}
    action = [actions.setdefault(one, len(actions)) for one in columns.action_ids]
    groups: dict[tuple[bytes, int, int], int] = {}
    where = zip(columns.names, columns.bucket.tolist(), map(len, columns.vectors), strict=True)
    group = [groups.setdefault(one, len(groups)) for one in where]
    return Piece(offsets, raws, columns, list(actions), np.array(action), list(groups), np.array(group), odd)


@dataclass(slots=True)
class PieceFold:
    """What a piece changes."""

    fold: Fold
    """All deltas, and what those actions count for that were folded one by one."""
    action_ids: list[bytes] = field(default_factory=list)
    """The others that count for something else now, or again."""
    counted: list[bytes] = field(default_factory=list)
    """What they count for, as it is stored."""
    expires_at_ms: list[int] = field(default_factory=list)
    left_due: list[tuple[int, bytes]] = field(default_factory=list)
    """(expires_at_ms, action_id) of what was remembered of an earlier action of the same id."""


def fold_piece(
    piece: Piece, stored: Sequence[bytes | None], gone: Sequence[bytes | None], state: FoldState
) -> PieceFold:
    """Fold a piece; `state` is moved past it.

    Args:
        piece: records at or behind the state's position.
        stored: what each of its actions counted for before (`Counted` as stored), None where nothing is remembered.
        gone: the same of those that are erased; empty: none is.
        state: of the partition.
    """
    columns = piece.columns
    marks_ms = np.maximum.accumulate(np.append(state.watermark_ms, columns.event_time_ms))
    last = _last_revisions(piece)
    before = _plainly_counted(stored)
    if (columns.expires_at_ms < marks_ms[:-1]).any():
        is_simple = np.zeros(len(piece.action_ids), np.bool_)
    else:
        # Nothing expires within the piece, so of two actions it does not matter which is folded first.
        is_simple = _simple_actions(piece, before, gone, last)
        is_simple &= np.array([value is None or value[0] == VERSION for value in stored], np.bool_)
    one_by_one = np.flatnonzero(~is_simple[piece.action]).tolist()
    known: dict[str, bytes] = {}
    for place in dict.fromkeys(piece.action[one_by_one].tolist()):
        value = (gone[place] if gone else None) or stored[place]
        if value:
            known[piece.action_ids[place].decode()] = value
    counted = {action_id: counted_from_bytes(value) for action_id, value in known.items()}
    fold = fold_ledger([piece.record(place) for place in one_by_one], counted, state)
    state.position, state.watermark_ms = piece.offsets[-1] + 1, int(marks_ms[-1])
    result = _fold_simple(piece, np.flatnonzero(is_simple), before, last, fold)
    result.left_due = [
        (was.expires_at_ms, action_id.encode())
        for action_id, was in counted.items()
        if not was.is_erased
        and action_id in fold.counted
        and fold.counted[action_id].expires_at_ms != was.expires_at_ms
    ]
    return result


def _plainly_counted(stored: Sequence[bytes | None]) -> NDArray[Any]:
    """Return what actions count for as stored, all zero where nothing, or more than this, is remembered."""
    plain = (value if value is not None and value[0] == VERSION else _UNKNOWN for value in stored)
    return np.frombuffer(b"".join(plain), COUNTED)


def _last_revisions(piece: Piece) -> Integers:
    """Return, by action, the place of the record that counts: of the highest revision, and of equal ones the later."""
    order = np.lexsort((piece.columns.revision, piece.action))
    sorted_actions = piece.action[order]
    last: Integers = order[np.append(sorted_actions[1:] != sorted_actions[:-1], True)]
    return last


def _simple_actions(piece: Piece, before: NDArray[Any], gone: Sequence[bytes | None], last: Integers) -> Mask:
    """Return which actions are folded by what they count for before and in the end."""
    expires_at_ms = piece.columns.expires_at_ms
    is_simple: Mask = (before["version"] == 0) | (before["expires_at_ms"] == expires_at_ms[last])
    if gone:
        is_simple &= np.array([value is None for value in gone], np.bool_)
    is_simple[piece.action[~piece.columns.is_plain]] = False
    vectors = piece.columns.vectors
    of_last = last[piece.action]
    for place in np.flatnonzero(of_last != np.arange(len(of_last))).tolist():
        other = of_last[place]
        if (
            piece.group[place] != piece.group[other]
            or expires_at_ms[place] != expires_at_ms[other]
            or vectors[place] != vectors[other]
        ):
            is_simple[piece.action[place]] = False
    return is_simple


def _fold_simple(piece: Piece, actions: Integers, before: NDArray[Any], last: Integers, fold: Fold) -> PieceFold:
    columns = piece.columns
    before = before[actions]
    is_newer = (before["version"] == 0) | (before["revision"] <= columns.revision[last[actions]])
    actions, before = actions[is_newer], before[is_newer]
    places = last[actions]
    after = np.empty(len(places), COUNTED)
    after["version"] = VERSION
    after["revision"] = columns.revision[places]
    after["reward"] = rewards = columns.reward[places]
    after["expires_at_ms"] = columns.expires_at_ms[places]
    n = (before["version"] == 0).astype(np.int64)
    differs = np.flatnonzero((n != 0) | (rewards != before["reward"]))
    if len(differs):
        r0, r1, at = before["reward"][differs], rewards[differs], places[differs]
        changes = np.array((piece.group[at], n[differs], r1 - r0, r1 * r1 - r0 * r0))
        deltas = sum_changes(changes, [columns.vectors[place] for place in at.tolist()], piece.keys())
        merge_deltas(fold.deltas, deltas.items())
    written, size = after.tobytes(), COUNTED.itemsize
    return PieceFold(
        fold,
        [piece.action_ids[place] for place in actions.tolist()],
        [written[start : start + size] for start in range(0, len(written), size)],
        after["expires_at_ms"].tolist(),
    )
