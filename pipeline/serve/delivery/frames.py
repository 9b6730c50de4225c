"""A record as bytes in a file of the spill, and back. Pure.

4 bytes length of the rest | 4 bytes CRC-32 of the rest | topic, key: 2 bytes length + bytes each | value
"""

from __future__ import annotations

import struct
import zlib
from typing import BinaryIO, NamedTuple

_HEAD = struct.Struct(">II")
_LENGTH = struct.Struct(">H")


class Parcel(NamedTuple):
    """A record to deliver."""

    topic: str
    key: bytes
    value: bytes

    @property
    def size(self) -> int:
        """Bytes that it takes up."""
        return len(self.key) + len(self.value)


class Frames(NamedTuple):
    """What was read of a file."""

    parcels: list[Parcel]
    """Sound records, in order."""
    offset: int
    """Where the next frame begins."""
    passed_over: int
    """Bytes of whole frames in between that are not what was written."""


def frame_of(parcel: Parcel) -> bytes:
    """Return a record as a frame."""
    topic = parcel.topic.encode()
    rest = b"".join((_LENGTH.pack(len(topic)), topic, _LENGTH.pack(len(parcel.key)), parcel.key, parcel.value))
    return _HEAD.pack(len(rest), zlib.crc32(rest)) + rest


def read_frames(file: BinaryIO, offset: int, end: int, records: int, size: int) -> Frames:
    """Read frames between `offset` and `end`, up to a number and about a size; a torn one ends it."""
    parcels: list[Parcel] = []
    passed_over = taken = 0
    file.seek(offset)
    while len(parcels) < records and taken < size:
        head = file.read(_HEAD.size)
        if len(head) < _HEAD.size:
            break
        length, crc = _HEAD.unpack(head)
        if offset + taken + _HEAD.size + length > end:
            break
        rest = file.read(length)
        if len(rest) < length:
            break
        taken += _HEAD.size + length
        if zlib.crc32(rest) == crc:
            parcels.append(_parcel(rest))
        else:
            passed_over += _HEAD.size + length
    return Frames(parcels, offset + taken, passed_over)


def _parcel(rest: bytes) -> Parcel:
    (topic_length,) = _LENGTH.unpack_from(rest)
    key_at = _LENGTH.size + topic_length
    (key_length,) = _LENGTH.unpack_from(rest, key_at)
    value_at = key_at + _LENGTH.size + key_length
    return Parcel(rest[_LENGTH.size : key_at].decode(), rest[key_at + _LENGTH.size : value_at], rest[value_at:])
