"""A record as bytes in a file of the spill, and back. Pure.

4 bytes length of the rest | 4 bytes CRC-32 of the rest | topic, key: 2 bytes length + bytes each | value

Whatever bytes stand in a file, they are read as sound frames, as unsound ones, or as its torn end: a length that no
frame has ends it, such as the zeros that a machine leaves where it stopped. What stands behind is not searched for
frames: a record's own text could hold one.
"""

from __future__ import annotations

import struct
import zlib
from typing import BinaryIO, NamedTuple

_HEAD = struct.Struct(">II")
_LENGTH = struct.Struct(">H")
_SHORTEST = 2 * _LENGTH.size
"""The rest of a frame without topic, key and value."""


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
    unsound: int
    """How many whole frames in between are not what was written."""


def frame_of(parcel: Parcel) -> bytes:
    """Return a record as a frame."""
    topic = parcel.topic.encode()
    rest = b"".join((_LENGTH.pack(len(topic)), topic, _LENGTH.pack(len(parcel.key)), parcel.key, parcel.value))
    return _HEAD.pack(len(rest), zlib.crc32(rest)) + rest


def read_frames(file: BinaryIO, offset: int, end: int, records: int, size: int) -> Frames:
    """Read frames between `offset` and `end`, up to a number and about a size; a torn one ends it."""
    parcels: list[Parcel] = []
    unsound = taken = 0
    file.seek(offset)
    while len(parcels) < records and taken < size:
        head = file.read(_HEAD.size)
        if len(head) < _HEAD.size:
            break
        length, crc = _HEAD.unpack(head)
        if length < _SHORTEST or offset + taken + _HEAD.size + length > end:
            break
        rest = file.read(length)
        if len(rest) < length:
            break
        taken += _HEAD.size + length
        parcel = _parcel(rest) if zlib.crc32(rest) == crc else None
        if parcel is None:
            unsound += 1
        else:
            parcels.append(parcel)
    return Frames(parcels, offset + taken, unsound)


def _parcel(rest: bytes) -> Parcel | None:
    """Return the record; None: it is none that `frame_of` was given, whatever its CRC says."""
    try:
        (topic_length,) = _LENGTH.unpack_from(rest)
        key_at = _LENGTH.size + topic_length
        (key_length,) = _LENGTH.unpack_from(rest, key_at)
        topic = rest[_LENGTH.size : key_at].decode()
    except (struct.error, UnicodeDecodeError):
        return None
    value_at = key_at + _LENGTH.size + key_length
    return Parcel(topic, rest[key_at + _LENGTH.size : value_at], rest[value_at:]) if value_at <= len(rest) else None
