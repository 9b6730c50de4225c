"""A partition of the ledger as far as it is folded ↔ the lines of its checkpoint. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import orjson

from pipeline.checkpoint.lines import erased_line, open_line, read_line, sums_line
from pipeline.errors import StateError
from pipeline.learn.memory import (
    Counted,
    FoldState,
    RowKey,
    counted_from_bytes,
    expires_of,
    fold_state_from_bytes,
    statistics_from_bytes,
)
from pipeline.models.sums.statistics import Statistics


@dataclass(slots=True)
class LedgerState:
    """What a fold goes on from."""

    fold: FoldState = field(default_factory=FoldState)
    counted: dict[str, Counted] = field(default_factory=dict)
    """What open actions count for, and which are erased."""
    rows: dict[RowKey, Statistics] = field(default_factory=dict)
    """Of all policies."""

    def read(self, content: bytes) -> None:
        """Take in a part. Raises StateError."""
        for line in content.splitlines():
            known, what = read_line(line)
            if isinstance(known, RowKey):
                self.rows[known] = what  # type: ignore[assignment]  # lines.Remembered pairs them
            else:
                self.counted[known] = what  # type: ignore[assignment]


def lines_of(event_time_ms: int, counted: Mapping[str, Counted], rows: Mapping[RowKey, Statistics]) -> Iterator[bytes]:
    """Yield the lines of what was folded."""
    still_open = [
        (one.expires_at_ms, action_id.encode(), action_id)
        for action_id, one in counted.items()
        if event_time_ms <= one.expires_at_ms and not one.is_erased
    ]
    for _, _, action_id in sorted(still_open):
        yield open_line(action_id, counted[action_id])
    for action_id in sorted((one for one in counted if counted[one].is_erased), key=str.encode):
        yield erased_line(action_id, counted[action_id])
    for _, key in sorted((key.to_bytes(), key) for key in rows):
        yield sums_line(key, rows[key])


class Moment(Protocol):
    """LEARN's rows as they were at one moment, by key (`learn/agent.py`)."""

    def get(self, key: bytes, /) -> bytes | None:
        """Return one row."""

    def scan(self, prefix: bytes, /) -> Iterable[tuple[bytes, bytes]]:
        """Yield the rows whose keys begin so."""


PROGRESS, INDEX, ROW, GONE, SUMS = b"s", b"d", b"r", b"e", b"c"
_DUE_BYTES = 9
"""In front of the action in a key of the index: its letter, and when it expires."""


def stored_fold(moment: Moment) -> FoldState:
    """Return how far the ledger is folded."""
    stored = moment.get(PROGRESS)
    return FoldState() if stored is None else fold_state_from_bytes(stored)


def stored_lines(moment: Moment) -> Iterator[bytes]:
    """Yield the lines of what LEARN has stored, with one row of it in memory at a time.

    Raises:
        StateError: written by a version that this code does not know.
    """
    event_time_ms = stored_fold(moment).watermark_ms
    for key, _ in moment.scan(INDEX):
        due_ms, action_id = int.from_bytes(key[1:_DUE_BYTES]), key[_DUE_BYTES:]
        value = moment.get(ROW + action_id) if due_ms >= event_time_ms else None
        if value is not None and expires_of(value) == due_ms:
            yield open_line(action_id.decode(), counted_from_bytes(value))
    for key, value in moment.scan(GONE):
        yield erased_line(key[1:].decode(), counted_from_bytes(value))
    for key, value in moment.scan(SUMS):
        if line := sums_line(_row_key(key[1:]), statistics_from_bytes(value)):
            yield line


def _row_key(stored: bytes) -> RowKey:
    try:
        return RowKey(*orjson.loads(stored))
    except (ValueError, TypeError) as error:
        raise StateError(f"LEARN's row {stored[:80]!r} has no key that can be read: {error!r}") from error
