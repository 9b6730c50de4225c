"""A partition's log as bytes, as a broker keeps it, and an answer to a fetch of it."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from types import SimpleNamespace
from typing import Any

from aiokafka import TopicPartition
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c

_ATTRIBUTES_AT, _CRC_AT, _LAST_DELTA_AT = 21, 17, 23
"""Of a record batch of version 2."""
_IS_CONTROL, _IS_TRANSACTIONAL = 0x20, 0x10
ABORT, COMMIT = 0, 1


def batch(first: int, *values: bytes | None, producer: int = -1, is_transactional: bool = False) -> bytes:
    """Return a record batch that begins at an offset."""
    builder = DefaultRecordBatchBuilder(2, 0, int(is_transactional), producer, 0, 0, 1 << 20)
    for i, value in enumerate(values):
        builder.append(i, timestamp=1_000 + i, key=b"k%d" % i, value=value, headers=[])
    return _signed(bytearray(builder.build()), first)


def marker(offset: int, producer: int, kind: int) -> bytes:
    """Return the control batch that ends a transaction."""
    builder = DefaultRecordBatchBuilder(2, 0, 1, producer, 0, -1, 1 << 20)
    builder.append(0, timestamp=0, key=struct.pack(">hh", 0, kind), value=struct.pack(">hi", 0, 0), headers=[])
    raw = bytearray(builder.build())
    struct.pack_into(">h", raw, _ATTRIBUTES_AT, _IS_CONTROL | _IS_TRANSACTIONAL)
    return _signed(raw, offset)


def compacted(raw: bytes, last: int) -> bytes:
    """Return a batch whose last records were removed: its last offset stays what it was."""
    changed = bytearray(raw)
    (first,) = struct.unpack_from(">q", changed)
    struct.pack_into(">i", changed, _LAST_DELTA_AT, last - first)
    return _signed(changed, first)


def _signed(raw: bytearray, first: int) -> bytes:
    struct.pack_into(">q", raw, 0, first)
    struct.pack_into(">I", raw, _CRC_AT, calc_crc32c(bytes(raw[_ATTRIBUTES_AT:])))
    return bytes(raw)


class Read(list[Any]):
    """Records in the manner of a record batch."""

    unpacked_bytes = 0

    def __init__(self, records: Iterable[Any], unpacked_bytes: int = 0) -> None:
        super().__init__(records)
        self.unpacked_bytes = unpacked_bytes

    @property
    def base_offset(self) -> int:
        return int(self[0].offset)

    def records(self) -> list[Any]:
        return self


Answer = tuple[int, Sequence[tuple[int, int]], bytes]
"""Stable end, aborted transactions, records."""


def fetched(answers: dict[TopicPartition, Answer | int]) -> SimpleNamespace:
    """Return an answer of version 11; a number is an error code."""
    topics: dict[str, list[Any]] = {}
    for (topic, number), answer in answers.items():
        code, (end, aborted, raw) = (answer, (-1, (), b"")) if isinstance(answer, int) else (0, answer)
        topics.setdefault(topic, []).append((number, code, end, end, 0, list(aborted), -1, raw))
    return SimpleNamespace(API_VERSION=11, error_code=0, topics=list(topics.items()))
