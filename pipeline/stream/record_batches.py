"""The record batches of a broker's answer, each of which gives its records whatever it holds.

A batch may be compressed by any codec, damaged, or made by something that keeps no rules, and its broker hands it out
all the same. aiokafka raises then, in a fetching thread that no stage sees, for ever. Here such a batch gives a record
for each of its offsets, whose value says what is wrong (`codec/unreadable.py`): JOIN makes dead letters of them.

And a few kilobytes may unpack to gigabytes: a batch is read up to UNPACKED_BYTES, and an answer's batches until they
come to ANSWER_BYTES; what is left of the answer is fetched again.

Layout of a batch (big-endian; https://kafka.apache.org/documentation/#recordbatch):

    q base offset | i length | i leader epoch | b magic | I crc | h attributes | i last offset delta
    | q first timestamp | q max timestamp | q producer id | h producer epoch | i base sequence | i count | records
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple

from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.legacy_records import LegacyRecordBatch

from pipeline.codec.unreadable import Unreadable
from pipeline.codec.varints import read_long
from pipeline.errors import RecordError
from pipeline.stream.decompress import check_codecs, decompress

UNPACKED_BYTES = 128 << 20
"""Above what a broker takes in one request at its default (100 MiB): whatever could be sent plainly can be read."""
ANSWER_BYTES = 32 << 20
"""Of an answer's batches so much is unpacked, and the last of them whole."""
MANY_OFFSETS = 1_000_000
"""More records than any batch has: a damaged head is believed no more than that."""

_HEAD = struct.Struct(">qiibIhiqqqhii")
_LENGTH = struct.Struct(">i")
_LENGTH_AT, _OVERHEAD_BYTES, _MAGIC_AT, _ATTRIBUTES_AT = 8, 12, 16, 21
_LEGACY_HEAD_BYTES = 26
_CODEC_BITS, _APPEND_TIME_BIT = 0x07, 0x08


class Record(NamedTuple):
    """A record that aiokafka's reader can't give, with the fields that its own have."""

    offset: int
    timestamp: int
    timestamp_type: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]] = ()
    checksum: None = None


@cache
def can_read_any_batch() -> None:
    """See that every codec works in this process; once is enough.

    Raises:
        ConfigError: one does not.
    """
    check_codecs()


class RecordBatches:
    """What one partition's answer holds, in the manner of aiokafka's `MemoryRecords`."""

    def __init__(self, answer: bytes) -> None:
        self._answer = memoryview(answer)
        self._at = 0
        self._unpacked_bytes = 0

    def size_in_bytes(self) -> int:
        """Return the answer's size."""
        return len(self._answer)

    def has_next(self) -> bool:
        """Whether another whole batch is to be read now; the last one of an answer may be cut off."""
        return self._unpacked_bytes < ANSWER_BYTES and self._stop() <= len(self._answer)

    def next_batch(self) -> Batch | None:
        """Return the next batch."""
        if not self.has_next():
            return None
        raw = bytes(self._answer[self._at : self._stop()])
        self._at += len(raw)
        return Batch(raw, self)

    def note_unpacked(self, count: int) -> None:
        """Count bytes that a batch has become."""
        self._unpacked_bytes += count

    def _stop(self) -> int:
        """Return where the batch ends that begins here; beyond the answer where there is none."""
        if len(self._answer) - self._at < _OVERHEAD_BYTES:
            return len(self._answer) + 1
        (length,) = _LENGTH.unpack_from(self._answer, self._at + _LENGTH_AT)
        # Nothing shorter has a head. A length that is damaged ends the answer: the broker goes by it as well.
        return self._at + _OVERHEAD_BYTES + length if length >= 0 else len(self._answer) + 1


class Batch:
    """One record batch."""

    def __init__(self, raw: bytes, answer: RecordBatches) -> None:
        self._raw = raw
        self._answer = answer
        self._parsed: Any = None
        self._fault = ""
        self.unpacked_bytes = 0
        """What it has become, once its records were read; 0 where it was not compressed."""
        magic = raw[_MAGIC_AT] if len(raw) > _MAGIC_AT else -1
        self.base_offset = int.from_bytes(raw[:_LENGTH_AT], "big", signed=True)
        try:
            if magic >= 2 and len(raw) >= _HEAD.size:
                self._parsed = DefaultRecordBatch(raw)
            elif magic in (0, 1) and len(raw) >= _LEGACY_HEAD_BYTES:
                self._parsed = LegacyRecordBatch(raw, magic)
            else:
                self._fault = f"its {len(raw)} bytes are no batch of a known format (magic {magic})"
            if self._parsed is not None and not self._parsed.validate_crc():
                self._fault = "its checksum is wrong: it was damaged on the broker's disk, or on the way"
        except Exception as error:  # noqa: BLE001  whatever a damaged batch brings forth
            self._fault = f"its head is damaged: {error!r}"
        self._is_current = magic >= 2 and self._parsed is not None
        self.is_control_batch = bool(self._is_current and self._parsed.is_control_batch)
        self.is_transactional = bool(self._is_current and self._parsed.is_transactional)
        self.producer_id: int | None = self._parsed.producer_id if self._is_current else None
        self.next_offset = self.base_offset + 1
        if self._is_current:
            delta = self._parsed.next_offset - self.base_offset
            # A head that is not to be trusted must not lead far ahead, nor back: what is passed over is lost.
            if not self._fault or 0 < delta <= MANY_OFFSETS:
                self.next_offset = self.base_offset + max(1, delta)
        elif self._parsed is not None:
            self.next_offset = max(self.base_offset + 1, int(self._parsed.next_offset))

    def validate_crc(self) -> bool:
        """Return that it may be read: what is wrong with it, its records say."""
        return True

    def __next__(self) -> Any:
        """Return the record of a batch that the broker wrote itself: the mark of a transaction's end."""
        return next(self._parsed)

    def __iter__(self) -> Iterator[Any]:
        """Return its records."""
        return iter(self.records())

    def records(self) -> list[Any]:
        """Return its records; where one can't be read, a `Record` that says why."""
        if self._fault:
            return self._unreadable(self._fault)
        if self._is_current:
            return self._current()
        try:
            return list(self._parsed)
        except Exception as error:  # noqa: BLE001  formats of before 2017, which only old segments hold
            return self._unreadable(f"it is of an old format and can't be read: {error!r}")

    def _current(self) -> list[Any]:
        head = _HEAD.unpack_from(self._raw)
        count, attributes = head[12], head[5]
        if count == 0:  # compaction has removed all of them
            return []
        batch, body = self._parsed, self._raw[_HEAD.size :]
        if codec := attributes & _CODEC_BITS:
            try:
                body = decompress(codec, body, UNPACKED_BYTES)
            except RecordError as error:
                return self._unreadable(error.detail)
            self.unpacked_bytes = len(body)
            self._answer.note_unpacked(len(body))
            batch = DefaultRecordBatch(_plain(self._raw, body))
        try:
            return list(batch)
        except Exception:  # noqa: BLE001  one odd record ends aiokafka's reading of all of them
            return list(_one_by_one(head, body))

    def _unreadable(self, detail: str) -> list[Any]:
        offsets = range(self.base_offset, self.next_offset)
        where = f"the record batch of offsets {offsets.start} to {offsets.stop - 1} can't be read"
        value = Unreadable(f"{where}: {detail}. Mend or remove it at its producer; offsets behind it go on")
        timestamp = _HEAD.unpack_from(self._raw)[8] if self._is_current and len(self._raw) >= _HEAD.size else 0
        return [Record(offset, max(0, timestamp), 0, None, value) for offset in offsets]


def _plain(raw: bytes, body: bytes) -> bytes:
    """Return a batch as if it had never been compressed."""
    head = bytearray(raw[: _HEAD.size])
    head[_ATTRIBUTES_AT + 1] &= ~_CODEC_BITS & 0xFF
    return bytes(head) + body


def _one_by_one(head: tuple[Any, ...], body: bytes) -> Iterator[Record]:
    """Read records by their lengths: one that is odd is told, and its neighbours are read."""
    base_offset, attributes, last_delta, first_ms, max_ms, count = head[0], head[5], head[6], head[7], head[8], head[12]
    is_append_time = bool(attributes & _APPEND_TIME_BIT)
    at, delta = 0, -1
    for _ in range(count):
        delta += 1
        try:
            length, start = read_long(body, at)
            if length < 0 or start + length > len(body):
                raise ValueError(f"a record of {length} bytes where {len(body) - start} are left")  # noqa: TRY301
        except (ValueError, IndexError) as error:
            # Where the next one begins is not known either.
            value = Unreadable(f"the records from here to the end of their batch can't be read: {error!r}")
            for left in range(delta, max(delta, min(last_delta, delta + MANY_OFFSETS)) + 1):
                yield Record(base_offset + left, max_ms, int(is_append_time), None, value)
            return
        at = start + length
        try:
            delta, timestamp_delta, key, raw = _fields(body[start:at])
        except (ValueError, IndexError) as error:
            fault = Unreadable(f"the record at offset {base_offset + delta} is damaged: {error!r}")
            yield Record(base_offset + delta, max_ms, int(is_append_time), None, fault)
            continue
        timestamp = max_ms if is_append_time else first_ms + timestamp_delta
        yield Record(base_offset + delta, timestamp, int(is_append_time), key, raw)


def _fields(record: bytes) -> tuple[int, int, bytes | None, bytes | None]:
    """Return a record's offset delta, timestamp delta, key and value; headers, which nobody asks for, may be odd."""
    timestamp_delta, at = read_long(record, 1)
    delta, at = read_long(record, at)
    key, at = _bytes(record, at)
    value, at = _bytes(record, at)
    return delta, timestamp_delta, key, value


def _bytes(record: bytes, at: int) -> tuple[bytes | None, int]:
    length, at = read_long(record, at)
    if length < 0:
        return None, at
    if at + length > len(record):
        raise ValueError(f"{length} bytes where {len(record) - at} are left")
    return record[at : at + length], at + length
