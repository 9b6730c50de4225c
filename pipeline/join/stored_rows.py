"""JOIN's rows, wherever they are stored. Pure: the store is handed in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from pipeline.join.row import ActionRow
from pipeline.join.stored_row import row_from_bytes


class Store(Protocol):
    """What is read of a store."""

    def get_many(self, keys: Sequence[bytes], /) -> list[bytes | None]:
        """Return rows in the order of their keys."""

    def due(self, until_ms: int, limit: int, /) -> list[tuple[int, bytes]]:
        """Return up to `limit` index entries (due_ms, row id) up to and including `until_ms`, in order."""


class StoredRows:
    """The steps' view of a store whose rows' keys begin with `prefix`."""

    def __init__(self, store: Store, prefix: bytes) -> None:
        self._store = store
        self._prefix = prefix

    def load(self, action_ids: Sequence[str]) -> dict[str, ActionRow]:
        """Return the rows that exist."""
        distinct = list(dict.fromkeys(action_ids))
        prefix = self._prefix
        stored = self._store.get_many([prefix + action_id.encode() for action_id in distinct])
        return {
            action_id: row_from_bytes(value, action_id)
            for action_id, value in zip(distinct, stored, strict=True)
            if value is not None
        }

    def due(self, until_ms: int, limit: int) -> list[tuple[int, str]]:
        """Return rows that fall due, in order."""
        return [(due_ms, row_id.decode()) for due_ms, row_id in self._store.due(until_ms, limit)]
