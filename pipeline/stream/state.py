"""RocksDB-backed Faust tables that are written by the batch.

A table's partition is one RocksDB. It always holds exactly a prefix of its changelog: rows and the changelog
offset they stand for are written in one WriteBatch, after the broker acknowledged the changelog. Faust
restores the rest from the changelog when the partition is assigned. So there is no moment at which the
local store is ahead of what another worker would see (ops/decisions/0003-two-stage-idempotence.md).

Keys begin with one byte that says what they are. An index entry (`INDEX`) is derived from its row by the table's
`index` function, lives only in RocksDB and is made again on restoring.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import faust
import rocksdict
from faust.stores import rocksdb
from faust.types import EventT

from pipeline.errors import StateError

ROW = b"r"
INDEX = b"d"
PROGRESS = b"s"

_DUE_KEY = struct.Struct(">cQ")

# Per partition database; a worker has (tables × partitions) of them, all behind one block cache.
WRITE_BUFFER_BYTES = 16 << 20
WRITE_BUFFERS = 2
MAX_OPEN_FILES = 256
BLOCK_CACHE_BYTES = 128 << 20
BLOOM_BITS_PER_KEY = 10.0

IndexOf = Callable[[bytes], int]
"""From a stored row's bytes: the due time that it is indexed by."""


def due_key(due_ms: int, row_id: bytes) -> bytes:
    """Return the index key of a row that falls due at `due_ms`; keys sort by time."""
    return _DUE_KEY.pack(INDEX, due_ms) + row_id


def _due_of(key: bytes) -> int:
    due_ms: int = _DUE_KEY.unpack_from(key)[1]
    return due_ms


class RowStore(rocksdb.Store):
    """Faust's RocksDB store (rocksdict), with bounded memory and whole-batch restoring."""

    index: IndexOf | None = None

    def __init__(self, *args: Any, cache: rocksdict.Cache, index: IndexOf | None, **kwargs: Any) -> None:
        super().__init__(*args, driver="rocksdict", **kwargs)
        self.index = index
        self.rocksdb_options = _Options(cache)

    def database(self, partition: int) -> rocksdict.Rdict:
        """Return the open database of an assigned partition."""
        return self._db_for_partition(partition)

    def apply_changelog_batch(
        self, batch: Iterable[EventT], to_key: Callable[[Any], Any], to_value: Callable[[Any], Any]
    ) -> None:
        """Restore: write changelog records, and the offset they reach, in one WriteBatch a partition."""
        del to_key, to_value  # keys and values are bytes
        batches: dict[int, rocksdict.WriteBatch] = {}
        offsets: dict[int, int] = {}
        for event in batch:
            message = event.message
            writes = batches.setdefault(message.partition, rocksdict.WriteBatch(raw_mode=True))
            if message.value is None:
                writes.delete(message.key)
            else:
                writes.put(message.key, message.value)
                if self.index is not None and message.key[:1] == ROW:
                    writes.put(due_key(self.index(message.value), message.key[1:]), b"")
            offsets[message.partition] = max(message.offset, offsets.get(message.partition, -1))
        for partition, writes in batches.items():
            writes.put(self.offset_key, str(offsets[partition]).encode())
            self.database(partition).write(writes)


class _Options(rocksdb.RocksDBOptions):
    """RocksDB options whose block cache is shared."""

    def __init__(self, cache: rocksdict.Cache) -> None:
        super().__init__(use_rocksdict=True)
        self._cache = cache

    def as_options(self) -> rocksdict.Options:
        options = rocksdict.Options(raw_mode=True)
        options.create_if_missing(True)  # noqa: FBT003  the library's signature
        options.set_max_open_files(MAX_OPEN_FILES)
        options.set_write_buffer_size(WRITE_BUFFER_BYTES)
        options.set_max_write_buffer_number(WRITE_BUFFERS)
        blocks = rocksdict.BlockBasedOptions()
        blocks.set_bloom_filter(BLOOM_BITS_PER_KEY, block_based=False)
        blocks.set_block_cache(self._cache)
        options.set_block_based_table_factory(blocks)
        return options


class StateTable(faust.Table):
    """A Faust table whose rows are read and written by partition and by the batch."""

    def __init__(
        self, app: faust.App, *, name: str, cache: rocksdict.Cache, index: IndexOf | None = None, **kwargs: Any
    ) -> None:
        self._cache = cache
        self._index = index
        super().__init__(app, name=name, key_type=bytes, value_type=bytes, **kwargs)

    def _new_store(self) -> RowStore:
        return RowStore(
            "rocksdb://",
            self.app,
            self,
            cache=self._cache,
            index=self._index,
            table_name=self.name,
            key_type=bytes,
            value_type=bytes,
            key_serializer="raw",
            value_serializer="raw",
            loop=self.loop,
            options={},
        )

    def partition(self, number: int) -> PartitionRows:
        """Return the rows of one assigned partition."""
        return PartitionRows(self.data.database(number), number, self.changelog_topic.get_topic_name())


class PartitionRows:
    """Rows of one partition of a table."""

    def __init__(self, database: rocksdict.Rdict, partition: int, changelog: str) -> None:
        self._database = database
        self.partition = partition
        self.changelog = changelog
        """Topic that these rows are durable in."""
        self._first_due_ms = 0
        """No index entry is earlier; behind it lie only deleted ones, which a scan would step over one by one."""

    def get(self, key: bytes) -> bytes | None:
        """Return one row."""
        value: bytes | None = self._database.get(key)
        return value

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return rows in the order of their keys, None where there is none."""
        if not keys:
            return []
        values: list[bytes | None] = self._database.get(list(keys))
        return values

    def due(self, until_ms: int, limit: int) -> list[tuple[int, bytes]]:
        """Return up to `limit` index entries (due_ms, row id) up to and including `until_ms`, in order."""
        entries: list[tuple[int, bytes]] = []
        cursor = self._database.iter()
        cursor.seek(due_key(self._first_due_ms, b""))
        while len(entries) < limit and cursor.valid():
            key = cursor.key()
            if key[:1] != INDEX:
                break
            due_ms = _due_of(key)
            if due_ms > until_ms:
                break
            entries.append((due_ms, key[9:]))
            cursor.next()
        self._first_due_ms = entries[0][0] if entries else max(self._first_due_ms, until_ms + 1)
        return entries

    def scan(self, prefix: bytes) -> Iterable[tuple[bytes, bytes]]:
        """Yield the rows whose keys begin with `prefix`, by key."""
        cursor = self._database.iter()
        cursor.seek(prefix)
        while cursor.valid():
            key = cursor.key()
            if not key.startswith(prefix):
                return
            yield key, cursor.value()
            cursor.next()

    def write(
        self, rows: Mapping[bytes, bytes | None], changelog_offset: int, local: Iterable[tuple[bytes, bool]]
    ) -> None:
        """Write rows (None deletes) that the changelog holds up to `changelog_offset`.

        Args:
            rows: by key.
            changelog_offset: the last of their changelog records.
            local: index entries (key, whether it is to be there).
        """
        writes = rocksdict.WriteBatch(raw_mode=True)
        for key, value in rows.items():
            if value is None:
                writes.delete(key)
            else:
                writes.put(key, value)
        for key, is_there in local:
            if is_there:
                writes.put(key, b"")
                self._first_due_ms = min(self._first_due_ms, _due_of(key))
            else:
                writes.delete(key)
        writes.put(rocksdb.Store.offset_key, str(changelog_offset).encode())
        try:
            self._database.write(writes)
        except Exception as error:  # rocksdict raises bare Exceptions
            raise StateError(
                f"RocksDB refused a write of partition {self.partition} of {self.changelog}: {error}"
            ) from error
