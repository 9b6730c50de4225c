"""A RocksDB of a tool's own, with no changelog: what is in it can be made again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import rocksdict

from pipeline.errors import StateError
from pipeline.stream.state.tables import BLOCK_CACHE_BYTES, Database, PartitionRows, due_key


class ScratchRows:
    """Rows with an index of due ones, as a stage's table has them."""

    def __init__(self, database: Database) -> None:
        self._rows = PartitionRows(database, 0, "scratch", flush_after_s=None)

    def get(self, key: bytes) -> bytes | None:
        """Return one row."""
        return self._rows.get(key)

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return rows in the order of their keys, None where there is none."""
        return self._rows.get_many(keys)

    def due(self, until_ms: int, limit: int) -> list[tuple[int, bytes]]:
        """Return up to `limit` index entries up to and including `until_ms`, in order."""
        return self._rows.due(until_ms, limit)

    def scan(self, prefix: bytes) -> Iterable[tuple[bytes, bytes]]:
        """Yield the rows whose keys begin with `prefix`, by key."""
        return self._rows.scan(prefix)

    def write(self, rows: Mapping[bytes, bytes | None], due: Iterable[tuple[int, bytes, bool]]) -> None:
        """Write rows (None deletes) and index entries (due_ms, row id, whether it is to be there) as a unit."""
        entries = [(due_key(due_ms, row_id), is_there) for due_ms, row_id, is_there in due]
        self._rows.write(rows, 0, entries)


@contextmanager
def scratch_rows(folder: Path) -> Iterator[ScratchRows]:
    """Open the rows in a folder, as they were left.

    Raises:
        StateError: another process has them open, or they are damaged.
    """
    try:
        database = Database(folder, rocksdict.Cache(BLOCK_CACHE_BYTES))
    except StateError as error:
        raise StateError(
            f"{error}; one process at a time, and what is damaged can be removed and made again"
        ) from error
    try:
        yield ScratchRows(database)
    finally:
        database.close()
