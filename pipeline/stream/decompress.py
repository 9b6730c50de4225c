"""Decompress what any Kafka client may have compressed, within a bound.

A few bytes may claim to be gigabytes, and no codec is asked to say how many before: the output goes into a buffer that
grows up to the bound. Snappy comes raw (librdkafka) or in xerial's frame (Java): a header of 16 bytes, then blocks with
their length (4 bytes, big-endian) before each; a stream that was appended to has the header again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import cramjam

from pipeline.codec.unreadable import UNREADABLE
from pipeline.errors import ConfigError, DecodeError

GZIP, SNAPPY, LZ4, ZSTD = 1, 2, 3, 4
CODECS: Mapping[int, str] = {GZIP: "gzip", SNAPPY: "snappy", LZ4: "lz4", ZSTD: "zstd"}
"""As a record batch's attributes number them."""
LIKELY_RATIO = 8
"""More than most batches shrink by: they are decompressed once."""
LEAST_BUFFER_BYTES = 64 << 10

XERIAL_MAGIC = b"\x82SNAPPY\x00"
XERIAL_HEADER_BYTES = len(XERIAL_MAGIC) + 8
_LENGTH_BYTES = 4

_INTO: Mapping[int, Callable[[bytes, bytearray], int]] = {
    GZIP: cramjam.gzip.decompress_into,
    LZ4: cramjam.lz4.decompress_into,
    ZSTD: cramjam.zstd.decompress_into,
}


def decompress(codec: int, payload: bytes, limit: int) -> bytes:
    """Return what was compressed, of at most `limit` bytes.

    Raises:
        DecodeError: a codec that nobody has, damaged, or larger.
    """
    name = CODECS.get(codec)
    if name is None:
        known = ", ".join(f"{number} {word}" for number, word in CODECS.items())
        raise _unreadable(f"it claims codec {codec}, which Kafka has not; known are {known}")
    try:
        return _snappy(payload, limit) if codec == SNAPPY else _growing(_INTO[codec], payload, limit)
    except cramjam.DecompressionError as error:
        raise _unreadable(
            f"its {len(payload)} bytes of {name} are damaged, or more than {limit} bytes: {error}"
        ) from error


def check_codecs() -> None:
    """Raise ConfigError unless every codec works in this process, before a record depends on it."""
    sample = b"bandit" * 100
    made: Mapping[int, Any] = {
        GZIP: cramjam.gzip.compress,
        SNAPPY: cramjam.snappy.compress_raw,
        LZ4: cramjam.lz4.compress,
        ZSTD: cramjam.zstd.compress,
    }
    faults = []
    for codec, compress in made.items():
        try:
            seen = decompress(codec, bytes(compress(sample)), len(sample))
        except DecodeError as error:
            seen = str(error).encode()
        if seen != sample:
            faults.append(f"{CODECS[codec]} does not work ({seen[:80]!r}): install cramjam anew")
    if faults:
        raise ConfigError("compression codecs", faults)


def _growing(decompress_into: Callable[[bytes, bytearray], int], payload: bytes, limit: int) -> bytes:
    size = max(LEAST_BUFFER_BYTES, LIKELY_RATIO * len(payload))
    while True:
        buffer = bytearray(min(size, limit))
        try:
            length = decompress_into(payload, buffer)
        except cramjam.DecompressionError:
            # Whether the buffer was too small or the bytes are damaged, the error does not say in a way to rely on.
            if size >= limit:
                raise
            size *= LIKELY_RATIO
        else:
            return bytes(memoryview(buffer)[:length])


def _snappy(payload: bytes, limit: int) -> bytes:
    blocks, left = [], limit
    for block in _xerial_blocks(payload) if payload.startswith(XERIAL_MAGIC) else (payload,):
        left -= cramjam.snappy.decompress_raw_len(block)
        if left < 0:
            raise _unreadable(f"its {len(payload)} bytes of snappy are more than {limit} bytes")
        blocks.append(bytes(cramjam.snappy.decompress_raw(block)))
    return b"".join(blocks)


def _xerial_blocks(payload: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(payload):
        if payload.startswith(XERIAL_MAGIC, at):
            at += XERIAL_HEADER_BYTES
            continue
        start = at + _LENGTH_BYTES
        length = int.from_bytes(payload[at:start], "big", signed=True)
        at = start + length
        if length < 0 or at > len(payload):
            raise _unreadable(f"a block of snappy says that it has {length} bytes, {len(payload) - start} are left")
        yield payload[start:at]


def _unreadable(detail: str) -> DecodeError:
    return DecodeError(UNREADABLE, detail)
