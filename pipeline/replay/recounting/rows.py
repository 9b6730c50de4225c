"""What a replay keeps of one partition.

Rows, in one store: r<action_id> as in JOIN | n<action_id> what the action counts for, as in LEARN, and its context
vector | t<action_id> the ledger's last record of it, whole, until it is over | c<row key> sums | s how far it is read,
and h how far history is.
A step's rows are written as a unit, so that it goes on from wherever it was stopped.

An erasure says what was counted for the action where it was learned; here it takes back what is counted for it here. So
what an action counts for is kept, as long as the folder is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

import orjson

from pipeline.errors import StateError
from pipeline.learn.memory import FoldState, RowKey, statistics_from_bytes
from pipeline.models.sums.statistics import Statistics

VERSION = 1
ACTION, COUNTED, TOLD, SUMS, STATE, HISTORY = b"r", b"n", b"t", b"c", b"s", b"h"
STEP_OFFSETS = 2_000
"""A step ends at the latest at a multiple of it."""

Raw = tuple[int, int, bytes | None, bytes | None]
"""(offset, timestamp_ms, key, value) of a record as it was read."""
Rows = Mapping[bytes, bytes | None]
Due = Iterable[tuple[int, bytes, bool]]
"""(due_ms, row id, whether the entry is to be there)."""


class ReplayRows(Protocol):
    """One partition's rows, by key, with an index of due ones."""

    def get(self, key: bytes) -> bytes | None:
        """Return one row."""

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return rows in the order of their keys."""

    def due(self, until_ms: int, limit: int) -> list[tuple[int, bytes]]:
        """Return up to `limit` index entries up to and including `until_ms`, in order."""

    def scan(self, prefix: bytes) -> Iterable[tuple[bytes, bytes]]:
        """Yield the rows whose keys begin with `prefix`, by key."""

    def write(self, rows: Rows, due: Due) -> None:
        """Write rows (None deletes) and index entries as a unit."""


class StillOpen(NamedTuple):
    """Decisions whose reward may still change."""

    decisions: int
    """How many there are."""
    until_ms: int
    """Event time at which the last of them is let go; 0: there are none."""


def sums_of(rows: ReplayRows) -> dict[RowKey, Statistics]:
    """Return the statistics counted so far."""
    return {RowKey(*orjson.loads(key[1:])): statistics_from_bytes(value) for key, value in rows.scan(SUMS)}


def state_bytes(finished: int, progress: bytes, fold: FoldState) -> bytes:
    """Return the row that tells how far it is read."""
    return orjson.dumps([VERSION, finished, progress.decode(), fold.to_bytes().decode()])


def stored_state(rows: ReplayRows) -> tuple[int, str, str] | None:
    """Return what `state_bytes` was given, if anything is kept.

    Raises StateError where another version has kept it.
    """
    stored = rows.get(STATE)
    if stored is None:
        return None
    version, finished, progress, fold = orjson.loads(stored)
    if version != VERSION:
        raise StateError(
            f"a replay's folder of version {version}, this code reads {VERSION}: remove it, and replay again"
        )
    return finished, progress, fold
