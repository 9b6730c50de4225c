"""The Avro schemas of `schemas/*.avsc` and their fingerprints.

A schema file that was released is never edited in place: its text moves to `schemas/released/` and the new
one is written beside it, so every record ever written stays readable. A writer always uses the current one.
"""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import fastavro.schema
from fastavro.types import Schema


class RecordSchema(NamedTuple):
    """One version of one record's schema."""

    name: str
    """File name without its ending, such as `decision`."""
    fingerprint: bytes
    """8 bytes little-endian CRC-64-AVRO of the parsing canonical form."""
    parsed: Schema
    """As fastavro wants it."""


@cache
def schemas_folder() -> Path:
    """Return where the schema files lie: inside the installed package, or beside it in a checkout."""
    packaged = Path(str(resources.files("pipeline") / "schemas"))
    return packaged if packaged.is_dir() else packaged.parent.parent / "schemas"


def load_schema(path: Path) -> RecordSchema:
    """Parse one `.avsc` file."""
    raw: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    canonical = fastavro.schema.to_parsing_canonical_form(raw)
    fingerprint = bytes.fromhex(fastavro.schema.fingerprint(canonical, "CRC-64-AVRO"))
    parsed = fastavro.schema.parse_schema(raw)
    for field in parsed["fields"]:
        # JSON has no bytes, so Avro spells such a default as a string, which fastavro hands on as it stands.
        if field["type"] == "bytes" and "default" in field:
            field["default"] = field["default"].encode("latin-1")
    return RecordSchema(path.name.split(".")[0], fingerprint, parsed)


@cache
def current_schema(name: str) -> RecordSchema:
    """Return the schema that records called `name` are written with."""
    return load_schema(schemas_folder() / f"{name}.avsc")


@cache
def schemas_by_fingerprint() -> dict[bytes, RecordSchema]:
    """Return every schema that a record may have been written with, current and released."""
    folder = schemas_folder()
    loaded = [load_schema(path) for path in sorted(folder.rglob("*.avsc"))]
    return {schema.fingerprint: schema for schema in loaded}
