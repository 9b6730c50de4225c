"""The node's routes as a table, and the OpenAPI document made of it and of the bodies' types. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from pipeline.serve.keys import Right
from pipeline.serve.messages.answers import ErrorAnswer
from pipeline.serve.messages.bodies import KEPT_PATTERN

TITLE = "Serving node of a streaming bandit"
_REFERENCE = "#/components/schemas/{name}"
_JSON = "application/json"
OF_EVERY_ROUTE = (400, 403, 408, 414, 429, 431, 500, 503)
PARAMETERS = {
    "policy": "The policy's name.",
    "action_id": "The decision's id.",
}


@dataclass(frozen=True, slots=True)
class Operation:
    """One route."""

    name: str
    """Of the function that serves it, and its operationId."""
    method: str
    path: str
    summary: str
    answers: Mapping[int, type[msgspec.Struct] | None]
    """By status; None: text."""
    errors: Sequence[int] = ()
    """Statuses that come with an `ErrorAnswer`, beside those of every route."""
    body: type[msgspec.Struct] | None = None
    right: Right | None = None
    """What a key must allow; None: nobody is asked."""
    example: Mapping[str, Any] = field(default_factory=dict)
    """A body that works for somebody."""


def openapi(operations: Sequence[Operation], version: str, *, needs_keys: bool) -> dict[str, Any]:
    """Return the document, OpenAPI 3.1."""
    types: dict[type[msgspec.Struct], None] = {ErrorAnswer: None}
    for operation in operations:
        types |= dict.fromkeys(each for each in (operation.body, *operation.answers.values()) if each is not None)
    _, schemas = msgspec.json.schema_components(tuple(types), ref_template=_REFERENCE)
    paths: dict[str, Any] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation, needs_keys=needs_keys)
    components: dict[str, Any] = {"schemas": schemas}
    if needs_keys:
        components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    return {
        "openapi": "3.1.0",
        "info": {"title": TITLE, "version": version, "description": "Every error has a body {error, detail}."},
        "paths": paths,
        "components": components,
    }


def _operation(operation: Operation, *, needs_keys: bool) -> dict[str, Any]:
    is_guarded = needs_keys and operation.right is not None
    errors = {*OF_EVERY_ROUTE, *operation.errors, *((401,) if operation.right else ())}
    if operation.body is not None:
        errors |= {413, 415}
    responses = {str(status): _answer(answer, "Served.") for status, answer in operation.answers.items()}
    responses |= {
        str(status): _answer(ErrorAnswer, _WHY[status]) for status in sorted(errors) if str(status) not in responses
    }
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "responses": responses,
    }
    names = [part[1:-1] for part in operation.path.split("/") if part.startswith("{")]
    if names:
        described["parameters"] = [
            {
                "name": name,
                "in": "path",
                "required": True,
                "description": PARAMETERS[name],
                "schema": {"type": "string", "minLength": 1, "maxLength": 256, "pattern": KEPT_PATTERN},
            }
            for name in names
        ]
    if operation.body is not None:
        content: dict[str, Any] = {"schema": _reference(operation.body)}
        if operation.example:
            content["example"] = dict(operation.example)
        described["requestBody"] = {"required": True, "content": {_JSON: content}}
    if is_guarded:
        described["security"] = [{"key": []}]
        described["description"] = f"Needs a key with the right {operation.right}."
    return described


_WHY = {
    400: "The request can't be read, or holds what no record could carry.",
    401: "No key, or an unknown one.",
    403: "The key does not have the right; or, where no key is asked for, a web page sent this.",
    404: "There is no such thing here.",
    409: "There is nothing that could be shown, or the action_id is a decision of another policy.",
    408: "The request took too long to come.",
    413: "The body, or the record made of it, is too large.",
    414: "The path and query are too long.",
    415: "The body is not declared to be JSON, and no key is asked for.",
    429: "Too many requests of this caller; see Retry-After.",
    431: "The request line and headers are too large, or too many.",
    500: "A fault of the node's own, which is in its log.",
    503: "Not now; see Retry-After.",
}


def _answer(answer: type[msgspec.Struct] | None, description: str) -> dict[str, Any]:
    content = (
        {"text/plain": {"schema": {"type": "string"}}} if answer is None else {_JSON: {"schema": _reference(answer)}}
    )
    return {"description": description, "content": content}


def _reference(body: type[msgspec.Struct]) -> dict[str, str]:
    return {"$ref": _REFERENCE.format(name=body.__name__)}
