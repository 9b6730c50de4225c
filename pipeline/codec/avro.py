"""Avro single-object encoding: C3 01, the schema's 8-byte fingerprint, the binary record.

https://avro.apache.org/docs/1.12.0/specification/#single-object-encoding
"""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping
from typing import Any

import fastavro

from pipeline.codec.schemas import RecordSchema, current_schema, schemas_by_fingerprint
from pipeline.codec.unreadable import Unreadable
from pipeline.errors import DecodeError

MARKER = b"\xc3\x01"
HEADER_BYTES = 10


def encode(name: str, record: Mapping[str, Any]) -> bytes:
    """Write `record` under the current schema called `name`, e.g. `reward`."""
    schema = current_schema(name)
    buffer = io.BytesIO()
    buffer.write(MARKER)
    buffer.write(schema.fingerprint)
    fastavro.schemaless_writer(buffer, schema.parsed, record)
    return buffer.getvalue()


def decode(raw: bytes) -> tuple[str, dict[str, Any]]:
    """Read a record and tell its schema's name.

    Raises:
        DecodeError: unknown-fingerprint, or not-decodable.
    """
    fingerprint = raw[2:HEADER_BYTES]
    schema = schemas_by_fingerprint().get(fingerprint)
    if schema is None:
        known = ", ".join(f"{s.name} {s.fingerprint.hex()}" for s in schemas_by_fingerprint().values())
        raise DecodeError(
            "unknown-fingerprint",
            f"schema fingerprint {fingerprint.hex()} is unknown; known are: {known}. "
            "Upgrade this worker, or send a released schema",
        )
    return schema.name, decode_body(raw, HEADER_BYTES, schema)


def decode_body(raw: bytes, start: int, schema: RecordSchema) -> dict[str, Any]:
    """Read the binary record that begins at `start`, resolving an older writer's schema to the current one.

    Raises:
        DecodeError: not-decodable.
    """
    buffer = io.BytesIO(raw)
    buffer.seek(start)
    reader = current_schema(schema.name)
    try:
        record = fastavro.schemaless_reader(
            buffer, schema.parsed, None if reader.fingerprint == schema.fingerprint else reader.parsed
        )
    except Exception as error:  # fastavro raises what its decoder trips over: EOFError, ValueError, …
        raise DecodeError("not-decodable", f"not a {schema.name} record: {error!r}") from error
    if not isinstance(record, dict):  # every schema of ours is a record
        raise DecodeError("not-decodable", f"expected a {schema.name} record, got {type(record).__name__}")
    if buffer.tell() != len(raw):
        raise DecodeError("not-decodable", f"{len(raw) - buffer.tell()} bytes follow the {schema.name} record")
    return record


def decode_as(name: str, raw: bytes) -> dict[str, Any]:
    """Read a record that must be of schema `name`.

    Raises:
        DecodeError: unknown-fingerprint, not-decodable, unexpected-record, or unreadable-batch.
    """
    return decode_any((name,), raw)[1]


def decode_any(names: Collection[str], raw: bytes) -> tuple[str, dict[str, Any]]:
    """Read a record that must be of one of these schemas, and tell which. Raises DecodeError as `decode_as`."""
    if isinstance(raw, Unreadable):
        raise raw.error
    if raw[:2] != MARKER:
        raise DecodeError(
            "not-decodable", f"first bytes {raw[:2].hex()}, expected {MARKER.hex()} of Avro single-object encoding"
        )
    found, record = decode(raw)
    if found not in names:
        raise DecodeError("unexpected-record", f"a {found} record where a {' or '.join(names)} belongs")
    return found, record
