"""Avro's integers and strings by hand, for the layouts that are read and written once per event."""

from __future__ import annotations


def long(value: int) -> bytes:
    """Write an Avro long: zigzag, then as a varint."""
    return varint((value << 1) ^ (value >> 63))


def varint(value: int) -> bytes:
    """Write seven bits a byte, the lowest first."""
    encoded = bytearray()
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def text(value: str) -> bytes:
    """Write an Avro string: its length in bytes, then UTF-8."""
    raw = value.encode()
    return long(len(raw)) + raw


def read_long(raw: bytes, at: int) -> tuple[int, int]:
    """Return a long, and where it ends."""
    byte = raw[at]
    at += 1
    if byte < 128:
        return (byte >> 1) ^ -(byte & 1), at
    value, shift = byte & 127, 7
    while True:
        byte = raw[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return (value >> 1) ^ -(value & 1), at
        shift += 7


def read_long_as_byte(raw: bytes, at: int) -> tuple[int, int]:
    """Return a length or count as it stands, zigzag, and where it ends."""
    value, at = read_long(raw, at)
    return value << 1, at


def behind_long(raw: bytes, at: int) -> int:
    """Return where a long ends."""
    while raw[at] > 127:
        at += 1
    return at + 1
