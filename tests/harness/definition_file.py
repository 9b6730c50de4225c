"""A policy as the file that people write."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from pipeline.policy.canonical import to_canonical_json
from tests.samples import define


def definition_file(folder: Path, policy: dict[str, Any]) -> str:
    """Write a policy as TOML."""
    path = folder / "definition.toml"
    path.write_text("\n".join(toml(orjson.loads(to_canonical_json(define(policy))))), "utf-8")
    return str(path)


def toml(table: dict[str, Any]) -> Iterator[str]:
    for name, value in table.items():
        yield f"{name} = {inline(value)}"


def inline(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {inline(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(inline, value)) + "]"
    return orjson.dumps(value).decode()
