"""RocksDB-backed Faust tables that are written by the batch.

A table's partition is one RocksDB. It always holds exactly a prefix of its changelog: rows and the changelog
offset they stand for are written in one WriteBatch, after the broker acknowledged the changelog. The rest is
restored from the changelog when the partition is first needed (`stream/state/restore.py`). So there is no moment at
which the local store is ahead of what another worker would see (ops/decisions/0003-two-stage-idempotence.md). The
changelog is also the log of what is in RocksDB's memory and not yet in its files: RocksDB's own would be the same again
(ops/decisions/0022-no-write-ahead-log.md).

Keys begin with one byte that says what they are. An index entry (`INDEX`) is derived from its row by the table's
`index` function, lives only in RocksDB and is made again on restoring.
"""

from __future__ import annotations

import shutil
import struct
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import faust
import orjson
import rocksdict
from faust.stores import rocksdb
from faust.types import TP

from pipeline.codec.unreadable import Unreadable
from pipeline.errors import LogChangedError, StateError
from pipeline.stream.log.identity import Log

ROW = b"r"
INDEX = b"d"
PROGRESS = b"s"
CLAIM = b"f"

_DUE_KEY = struct.Struct(">cQ")

# Per partition database; a worker has (tables × partitions) of them, all behind one block cache.
WRITE_BUFFER_BYTES = 16 << 20
WRITE_BUFFERS = 2
MAX_OPEN_FILES = 256
BLOCK_CACHE_BYTES = 128 << 20
BLOOM_BITS_PER_KEY = 10.0
MEMTABLE_BLOOM_SHARE = 0.02
"""Of a write buffer: most keys that a stage looks for are new, and a filter says so sooner than a skip list."""

IndexOf = Callable[[bytes], int]
"""From a stored row's bytes: the due time that it is indexed by."""


def _without_log() -> rocksdict.WriteOptions:
    how = rocksdict.WriteOptions()
    how.disable_wal = True
    return how


_WITHOUT_LOG = _without_log()
_UNORDERED = "disable_auto_compactions"
FLUSH_AFTER_S = 900.0
"""How long rows are in memory alone, at the most: far less than the changelog keeps tombstones."""


def due_key(due_ms: int, row_id: bytes) -> bytes:
    """Return the index key of a row that falls due at `due_ms`; keys sort by time."""
    return _DUE_KEY.pack(INDEX, due_ms) + row_id


def _due_of(key: bytes) -> int:
    due_ms: int = _DUE_KEY.unpack_from(key)[1]
    return due_ms


class RowStore(rocksdb.Store):
    """The place of Faust's RocksDB store: this package opens, restores and closes the databases itself.

    Faust restores record by record, without first making sure that nobody else goes on writing
    (`stream/state/restore.py`, ops/decisions/0005-fencing.md); here it finds nothing to do.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, driver="rocksdict", **kwargs)

    def persisted_offset(self, tp: TP) -> int | None:  # noqa: ARG002  Faust's signature
        """Tell Faust of no offset."""
        return None

    async def on_rebalance(self, *_: Any, **__: Any) -> None:
        """Open nothing: a stage does when it first needs a partition."""


class StateTable(faust.Table):
    """A Faust table whose rows are read and written by partition and by the batch."""

    def _new_store(self) -> RowStore:
        return RowStore(
            "rocksdb://",
            self.app,
            self,
            table_name=self.name,
            key_type=bytes,
            value_type=bytes,
            key_serializer="raw",
            value_serializer="raw",
            loop=self.loop,
            options={},
        )

    def path(self, number: int) -> Path:
        """Return the folder of a partition's database."""
        return Path(self.data.partition_path(number))

    @property
    def changelog(self) -> str:
        """Name of the topic that the rows are durable in."""
        return str(self.changelog_topic.get_topic_name())


class Database:
    """The RocksDB of one partition. What it can't read it marks as broken, to be rebuilt at the next start."""

    def __init__(self, path: Path, cache: rocksdict.Cache) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self.is_new = not path.exists()
        with self.watched("opened"):
            self.rdict = rocksdict.Rdict(str(path), options(cache))

    @contextmanager
    def watched(self, what: str) -> Iterator[None]:
        """Turn RocksDB's bare exceptions into errors that say where; remember a corruption."""
        try:
            yield
        except Exception as error:  # rocksdict raises bare Exceptions
            if "Corruption" in str(error):
                broken_mark(self._path).touch()
            raise StateError(f"RocksDB in {self._path} can't be {what}: {error}") from error

    def close(self) -> None:
        """Let go of the folder."""
        self.rdict.close()


def broken_mark(path: Path) -> Path:
    """Return the file whose being there says that a database is broken."""
    return path.with_name(f"{path.name}.broken")


def remove_database(path: Path) -> None:
    """Remove a database that is of no use, and its mark."""
    shutil.rmtree(path, ignore_errors=True)
    broken_mark(path).unlink(missing_ok=True)


def options(cache: rocksdict.Cache) -> rocksdict.Options:
    """Return a database's options: bounded memory, and blocks in the cache that all share."""
    options = rocksdict.Options(raw_mode=True)
    options.create_if_missing(True)  # noqa: FBT003  the library's signature
    options.set_max_open_files(MAX_OPEN_FILES)
    options.set_write_buffer_size(WRITE_BUFFER_BYTES)
    options.set_max_write_buffer_number(WRITE_BUFFERS)
    options.set_memtable_prefix_bloom_ratio(MEMTABLE_BLOOM_SHARE)
    options.set_memtable_whole_key_filtering(True)
    blocks = rocksdict.BlockBasedOptions()
    blocks.set_bloom_filter(BLOOM_BITS_PER_KEY, block_based=False)
    blocks.set_block_cache(cache)
    options.set_block_based_table_factory(blocks)
    return options


class LocalEnd(NamedTuple):
    """How much of its changelog a database holds."""

    offset: int
    """The last changelog offset that is in; -1: none."""
    written_at_ms: int
    """This machine's clock at that write."""


class FolderLog(NamedTuple):
    """The changelog that a database is a prefix of; stored in it alone, beside its end."""

    cluster_id: str
    topic_id: str
    """Empty: the broker tells none."""
    leader_epoch: int
    """The highest that was known at the last write."""


FOLDER_LOG = b"__pipeline\0log__"


class Prepared(NamedTuple):
    """A part of a changelog, to be written."""

    writes: rocksdict.WriteBatch
    records: int
    offset: int
    """The last of them."""


class RowsAtOnce:
    """Rows of a partition as they were at one moment; the database may go on, and be closed.

    A cursor sees what was there when it was made, so all are made then: those of a snapshot of rocksdict's see what is
    there by now. The folder is not let go of before this is closed too.
    """

    def __init__(self, database: Any, watched: Callable[[str], AbstractContextManager[None]]) -> None:
        self._watched = watched
        self._looking, self._scanning = database.iter(), database.iter()

    def close(self) -> None:
        """Let go of the folder; nothing can be read any more."""
        del self._looking, self._scanning

    def get(self, key: bytes) -> bytes | None:
        """Return one row."""
        with self._watched("read"):
            self._looking.seek(key)
            if self._looking.valid() and self._looking.key() == key:
                found: bytes = self._looking.value()
                return found
            self._looking.status()
            return None

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield the rows whose keys begin with `prefix`, by key; one such scan at a time."""
        with self._watched("read"):
            self._scanning.seek(prefix)
            while self._scanning.valid() and (key := self._scanning.key()).startswith(prefix):
                yield key, self._scanning.value()
                self._scanning.next()
            self._scanning.status()


class PartitionRows:
    """Rows of one partition of a table."""

    def __init__(
        self,
        database: Database,
        partition: int,
        changelog: str,
        index: IndexOf | None = None,
        *,
        flush_after_s: float | None = FLUSH_AFTER_S,
    ) -> None:
        """Take over a database.

        Args:
            database: opened.
            partition: its number.
            changelog: topic that has the rows.
            index: what rows are indexed by.
            flush_after_s: how long rows may be in memory alone, where the changelog has them; None: there is none, and
                RocksDB keeps a log of its own.
        """
        self._database = database
        self._index = index
        self._flush_after_s = flush_after_s
        self._how = None if flush_after_s is None else _WITHOUT_LOG
        self._flushed_s = time.monotonic()
        self.partition = partition
        self.changelog = changelog
        """Topic that these rows are durable in."""
        self._log: FolderLog | None = None
        self._first_due_ms = 0
        """No index entry is earlier; behind it lie only deleted ones, which a scan would step over one by one."""

    def get(self, key: bytes) -> bytes | None:
        """Return one row."""
        with self._database.watched("read"):
            value: bytes | None = self._database.rdict.get(key)
        return value

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return rows in the order of their keys, None where there is none."""
        if not keys:
            return []
        with self._database.watched("read"):
            values: list[bytes | None] = self._database.rdict.get(list(keys))
        return values

    def due(self, until_ms: int, limit: int) -> list[tuple[int, bytes]]:
        """Return up to `limit` index entries (due_ms, row id) up to and including `until_ms`, in order."""
        entries: list[tuple[int, bytes]] = []
        for key, _ in self._from(due_key(self._first_due_ms, b"")):
            if len(entries) >= limit or key[:1] != INDEX or (due_ms := _due_of(key)) > until_ms:
                break
            entries.append((due_ms, key[9:]))
        self._first_due_ms = entries[0][0] if entries else max(self._first_due_ms, until_ms + 1)
        return entries

    def scan(self, prefix: bytes) -> Iterable[tuple[bytes, bytes]]:
        """Yield the rows whose keys begin with `prefix`, by key."""
        for key, cursor in self._from(prefix):
            if not key.startswith(prefix):
                return
            yield key, cursor.value()

    def moment(self) -> RowsAtOnce:
        """Return the rows as they are now, to be read in a thread while others are written."""
        with self._database.watched("read"):
            return RowsAtOnce(self._database.rdict, self._database.watched)

    def _from(self, start: bytes) -> Iterator[tuple[bytes, rocksdict.RdictIter]]:
        with self._database.watched("read"):
            cursor = self._database.rdict.iter()
            cursor.seek(start)
            while cursor.valid():
                yield cursor.key(), cursor
                cursor.next()
            cursor.status()

    def end(self) -> LocalEnd:
        """Return how much of the changelog is in."""
        stored = self.get(rocksdb.Store.offset_key)
        if stored is None:
            return LocalEnd(-1, 0)
        offset, _, written_at_ms = stored.partition(b" ")
        return LocalEnd(int(offset), int(written_at_ms or 0))

    def stored_log(self) -> FolderLog | None:
        """Return which changelog the database was written from; None: an earlier release wrote it, or nobody yet."""
        stored = self.get(FOLDER_LOG)
        return None if stored is None else FolderLog(*orjson.loads(stored))

    def belongs_to(self, found: Log) -> None:
        """Write from now on which changelog the rows are of."""
        self._log = FolderLog(found.cluster_id, found.topic_id, found.leader_epoch)

    def see(self, found: Log) -> None:
        """Compare the changelog, as it is now, with the one that is written.

        Raises:
            LogChangedError: its topic was made anew.
        """
        if self._log is None:
            return
        if found.topic_id != self._log.topic_id:
            raise LogChangedError(
                f"{self.changelog}/{self.partition} was made anew while it was written: seen topic id "
                f"{found.topic_id}, expected {self._log.topic_id}. Nothing more is written to it. Restore it, or start "
                "the worker again, which builds its state from what the topic holds. See ops/runbooks/another-log.md"
            )
        self.belongs_to(found)

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
        put, delete = writes.put, writes.delete
        for key, value in rows.items():
            if value is None:
                delete(key)
            else:
                put(key, value)
        first = due_key(self._first_due_ms, b"")
        for key, is_there in local:
            if is_there:
                put(key, b"")
                first = min(first, key)
            else:
                delete(key)
        self._first_due_ms = _due_of(first)
        self._write(writes, changelog_offset)
        if self._flush_after_s is not None and time.monotonic() - self._flushed_s > self._flush_after_s:
            self._flushed_s = time.monotonic()
            with self._database.watched("written"):
                self._database.rdict.flush(wait=False)

    def prepare(self, batches: Iterable[Iterable[Any]], start: int) -> Prepared:
        """Make one write of the changelog's record batches from offset `start` on, and of their index."""
        latest: dict[bytes, bytes | None] = {}
        count, offset = 0, start - 1
        for batch in batches:
            for record in batch:
                if (offset := record.offset) >= start:
                    if isinstance(record.value, Unreadable):
                        raise StateError(f"{record.value.error.detail}; a state can't be restored from it")
                    latest[record.key] = record.value
                    count += 1
        writes = rocksdict.WriteBatch(raw_mode=True)
        put, delete, index, pack = writes.put, writes.delete, self._index, _DUE_KEY.pack
        entries = []
        for key, value in latest.items():
            if value is None:
                delete(key)
                continue
            put(key, value)
            if index is not None and key[:1] == ROW:
                entries.append(pack(INDEX, index(value)) + key[1:])
        # Together and in order they cost RocksDB half of what they do each beside its row.
        entries.sort()
        for entry in entries:
            put(entry, b"")
        return Prepared(writes, count, offset)

    def restore(self, prepared: Prepared) -> None:
        """Write what was prepared; `begin_restoring` stands before all of it, and `end_restoring` behind."""
        if prepared.records:
            self._write(prepared.writes, prepared.offset)

    def begin_restoring(self) -> None:
        """Leave the ordering of what is on disk for later: a third of the work, and nobody reads yet."""
        with self._database.watched("written"):
            self._database.rdict.set_options({_UNORDERED: "true"})

    def end_restoring(self) -> None:
        """Put all that was restored into the files, and order them again."""
        with self._database.watched("written"):
            self._database.rdict.flush()
            self._database.rdict.set_options({_UNORDERED: "false"})

    def _write(self, writes: rocksdict.WriteBatch, changelog_offset: int) -> None:
        writes.put(rocksdb.Store.offset_key, b"%d %d" % (changelog_offset, time.time_ns() // 1_000_000))
        if self._log is not None:
            writes.put(FOLDER_LOG, orjson.dumps(list(self._log)))
        with self._database.watched("written"):
            self._database.rdict.write(writes, self._how)

    def close(self) -> None:
        """Let go of the database."""
        self._database.close()
