"""docs/http.md: a node's routes, as its OpenAPI page is made of them."""

from __future__ import annotations

from collections.abc import Iterator

import orjson

from pipeline.serve.http.openapi import Operation, openapi
from pipeline.serve.http.routes import OPERATIONS

HEAD = """# HTTP

The routes of a serving node; this page is made of the same declarations as `/openapi.json`, which has all bodies field
by field (`/docs` shows it to people). Where a node asks for keys (`--api-keys`), a caller
sends `Authorization: Bearer KEY`. Every error is JSON: `{"error": REASON, "detail": WORDS}`;
[reasons](reasons.md) has them. [Asking a serving node](clients.md) shows how it is used.
"""


def page() -> str:
    """Return the whole page."""
    document = openapi(OPERATIONS, "", needs_keys=True)
    return "\n".join([HEAD, *(line for each in OPERATIONS for line in _section(each, document))])


def _section(operation: Operation, document: dict) -> Iterator[str]:
    described = document["paths"][operation.path][operation.method.lower()]
    yield f"## {operation.method} `{operation.path}`\n"
    yield f"{operation.summary} {described.get('description', 'Nobody is asked for a key.')}\n"
    if operation.body is not None:
        yield from _fields(operation.body.__name__, document)
    if operation.example:
        yield f"```json\n{orjson.dumps(operation.example, option=orjson.OPT_INDENT_2).decode()}\n```\n"
    yield "| status | answer |"
    yield "|---|---|"
    yield from (f"| {status} | {answer['description']} |" for status, answer in described["responses"].items())
    yield ""


def _fields(name: str, document: dict) -> Iterator[str]:
    schema = document["components"]["schemas"][name]
    yield "| field | needed | what it says |"
    yield "|---|---|---|"
    for field, one in schema.get("properties", {}).items():
        needed = "yes" if field in schema.get("required", ()) else ""
        yield f"| `{field}` | {needed} | {one.get('description', '')} |"
    yield ""
