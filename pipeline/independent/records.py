"""Bytes → ledger records and snapshots, by Avro's library and the schemas that the bytes name. Pure."""

from __future__ import annotations

import io
import json
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import fastavro
import fastavro.schema

from pipeline.errors import StateError

Fields = dict[str, Any]
_HEAD = 10
"""C3 01 and the schema's fingerprint."""


def read_record(name: str, raw: bytes) -> Fields:
    """Return a record of a schema, whichever released version wrote it.

    Raises:
        StateError: it is another record, of a schema that is not known, or damaged.
    """
    known = _schemas()
    written = known.get(raw[2:_HEAD])
    if raw[:2] != b"\xc3\x01" or written is None or written[0] != name:
        raise StateError(f"bytes {raw[:_HEAD].hex()} begin no {name} record of any released schema")
    current = known[name.encode()][1]
    reader = None if written[1] is current else current
    body = io.BytesIO(raw[_HEAD:])
    try:
        record = fastavro.schemaless_reader(body, written[1], reader)
    except Exception as error:  # fastavro raises what its decoder trips over
        raise StateError(f"not a {name} record: {error!r}") from error
    if not isinstance(record, dict) or body.read(1):
        raise StateError(f"not a {name} record: it does not end where its bytes do")
    return record


@cache
def _schemas() -> dict[bytes, tuple[str, Any]]:
    """Return each schema by its fingerprint, and the current ones by their names."""
    packaged = Path(str(resources.files("pipeline") / "schemas"))
    folder = packaged if packaged.is_dir() else packaged.parent.parent / "schemas"
    found: dict[bytes, tuple[str, Any]] = {}
    for path in sorted(folder.rglob("*.avsc")):
        text = json.loads(path.read_text(encoding="utf-8"))
        name = path.name.split(".")[0]
        canonical = fastavro.schema.to_parsing_canonical_form(text)
        parsed: Any = fastavro.schema.parse_schema(text)
        for field in parsed["fields"]:
            if field["type"] == "bytes" and "default" in field:
                field["default"] = field["default"].encode("latin-1")
        found[bytes.fromhex(fastavro.schema.fingerprint(canonical, "CRC-64-AVRO"))] = name, parsed
        if path.parent == folder:
            found[name.encode()] = name, parsed
    return found
