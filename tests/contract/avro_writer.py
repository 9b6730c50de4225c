"""Avro by its specification (1.12), for the schemas of this repository: to hold the library's answers against.

https://avro.apache.org/docs/1.12.0/specification/
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from typing import Any

BRANCH_TYPES = {
    "null": type(None),
    "boolean": bool,
    "long": int,
    "double": float,
    "string": str,
    "bytes": bytes,
    "record": dict,
}
EMPTY = 0xC15D213AA4D7A795


def single_object(schema: Any, record: dict[str, Any]) -> bytes:
    """Write the marker, the fingerprint and the record."""
    return b"\xc3\x01" + fingerprint(schema) + written(schema, record)


def written(schema: Any, value: Any) -> bytes:
    """Write a value in the binary encoding."""
    if isinstance(schema, list):
        branch = next(i for i, one in enumerate(schema) if type(value) is BRANCH_TYPES[_kind(one)])
        return _long(branch) + written(schema[branch], value)
    kind = schema if isinstance(schema, str) else schema["type"]
    if kind == "array":
        return _blocks([written(schema["items"], item) for item in value])
    if kind == "map":
        return _blocks([_bytes(key.encode()) + written(schema["values"], item) for key, item in value.items()])
    if kind == "record":
        return b"".join(written(field["type"], value[field["name"]]) for field in schema["fields"])
    return PRIMITIVES[kind](value) if isinstance(kind, str) else written(kind, value)


def _kind(schema: Any) -> str:
    return schema if isinstance(schema, str) else str(schema["type"])


def fingerprint(schema: Any) -> bytes:
    """Return CRC-64-AVRO of the parsing canonical form, little-endian."""
    crc = EMPTY
    for byte in canonical(schema).encode():
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (EMPTY if crc & 1 else 0)
    return crc.to_bytes(8, "little")


def canonical(schema: Any, namespace: str = "") -> str:
    """Write the parsing canonical form: full names, no documentation or defaults, attributes in fixed order."""
    if isinstance(schema, str):
        return json.dumps(schema if schema in PRIMITIVES or "." in schema else f"{namespace}.{schema}")
    if isinstance(schema, list):
        return "[" + ",".join(canonical(branch, namespace) for branch in schema) + "]"
    kind = schema["type"]
    if kind in {"array", "map"}:
        part = {"array": "items", "map": "values"}[kind]
        return f'{{"type":"{kind}","{part}":{canonical(schema[part], namespace)}}}'
    if kind != "record":
        return canonical(kind, namespace)
    space = schema.get("namespace", namespace)
    fields = ",".join(
        f'{{"name":"{field["name"]}","type":{canonical(field["type"], space)}}}' for field in schema["fields"]
    )
    return f'{{"name":"{space}.{schema["name"]}","type":"record","fields":[{fields}]}}'


def _long(number: int) -> bytes:
    return _varint(number << 1 if number >= 0 else (-number << 1) - 1)


def _varint(number: int) -> bytes:
    low, rest = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + _varint(rest) if rest else bytes([low])


def _bytes(value: bytes) -> bytes:
    return _long(len(value)) + value


def _blocks(items: list[bytes]) -> bytes:
    return _long(len(items)) + b"".join(items) + b"\x00" if items else b"\x00"


PRIMITIVES: dict[str, Callable[[Any], bytes]] = {
    "null": lambda _: b"",
    "boolean": lambda value: b"\x01" if value else b"\x00",
    "int": _long,
    "long": _long,
    "double": lambda value: struct.pack("<d", value),
    "bytes": _bytes,
    "string": lambda value: _bytes(value.encode()),
}
