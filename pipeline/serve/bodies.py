"""HTTP bodies → checked requests. Unknown keys are refused: a misspelt `eligible` would change what is shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from pipeline.errors import DecodeError, InvalidRecordError
from pipeline.events import MAX_ID_CHARACTERS
from pipeline.policy.parse_arms import MAX_ARMS
from pipeline.policy.section import is_text
from pipeline.policy.shown import shown


class DecideBody(NamedTuple):
    """What `POST /v1/policies/{policy}/decide` asks."""

    context: Mapping[str, object]
    """Raw fields; whether they suit the policy is found out when deciding."""
    eligible: Sequence[str] | None
    """Arms that can be shown; None: all active ones."""
    subject: str | None
    """The person, never logged as given."""
    action_id: str | None
    """Names the decision; None: the node names it."""


class OutcomeBody(NamedTuple):
    """What `POST /v1/outcomes` tells."""

    action_id: str
    """The decision it came of."""
    kind: str
    """One of the policy's outcome kinds."""
    value: float
    """Size of the outcome where the kind has one."""
    outcome_id: str | None
    """Names the outcome; None: the node names it, and a repeat counts again."""
    occurred_at_ms: int | None
    """Event time; None: now."""


def decide_body(raw: bytes) -> DecideBody:
    """Read a request to decide.

    Raises:
        DecodeError: no JSON object. InvalidRecordError: unknown-field, wrong-type, out-of-range.
    """
    fields = _object(raw, DecideBody._fields)
    context = fields.get("context", {})
    if not isinstance(context, dict):
        raise _wrong_type("context", context, "an object")
    return DecideBody(
        context,
        _eligible(fields.get("eligible")),
        _optional_identifier(fields, "subject"),
        _optional_identifier(fields, "action_id"),
    )


def outcome_body(raw: bytes) -> OutcomeBody:
    """Read an outcome.

    Raises:
        DecodeError: no JSON object. InvalidRecordError: unknown-field, missing-field, wrong-type, out-of-range.
    """
    fields = _object(raw, OutcomeBody._fields)
    value = fields.get("value", 1.0)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong_type("value", value, "a number")
    occurred_at_ms = fields.get("occurred_at_ms")
    if occurred_at_ms is not None and type(occurred_at_ms) is not int:
        raise _wrong_type("occurred_at_ms", occurred_at_ms, "integer epoch milliseconds")
    return OutcomeBody(
        identifier("action_id", _required(fields, "action_id")),
        identifier("kind", _required(fields, "kind")),
        float(value),
        _optional_identifier(fields, "outcome_id"),
        occurred_at_ms,
    )


def identifier(name: str, value: object) -> str:
    """Return `value` if a record can carry it as an id or name.

    Raises:
        InvalidRecordError: wrong-type, out-of-range.
    """
    if not isinstance(value, str):
        raise _wrong_type(name, value, "a string")
    if not 0 < len(value) <= MAX_ID_CHARACTERS:
        raise InvalidRecordError(
            "out-of-range", f"{name} has {len(value)} characters, expected 1 to {MAX_ID_CHARACTERS}"
        )
    if not is_text(value):
        raise InvalidRecordError("out-of-range", f"{name} is {value!r}, expected text that UTF-8 can hold")
    return value


def identifiers(name: str, values: Sequence[object]) -> Sequence[str]:
    """Check each of a list's entries as `identifier` does."""
    if len(values) > MAX_ARMS:
        raise InvalidRecordError("out-of-range", f"{name} has {len(values)} entries, expected at most {MAX_ARMS}")
    return [identifier(f"{name}[{place}]", value) for place, value in enumerate(values)]


def _object(raw: bytes, accepted: Sequence[str]) -> dict[str, Any]:
    try:
        fields = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise DecodeError("not-decodable", f"the body is not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise DecodeError("not-decodable", f"the body is JSON of type {type(fields).__name__}, expected an object")
    for name in fields:
        if name not in accepted:
            raise InvalidRecordError("unknown-field", f"{shown(name)} is unknown; accepted: {', '.join(accepted)}")
    return fields


def _required(fields: Mapping[str, Any], name: str) -> object:
    if name not in fields:
        raise InvalidRecordError("missing-field", f"{name} is missing; fields seen: {sorted(fields)}")
    return fields[name]


def _optional_identifier(fields: Mapping[str, Any], name: str) -> str | None:
    value = fields.get(name)
    return None if value is None else identifier(name, value)


def _eligible(value: object) -> Sequence[str] | None:
    if value is None:
        return None
    if not isinstance(value, list):
        raise _wrong_type("eligible", value, "a list of arm names, or null")
    return identifiers("eligible", value)


def _wrong_type(name: str, seen: object, expected: str) -> InvalidRecordError:
    return InvalidRecordError("wrong-type", f"{name} is {shown(seen)} ({type(seen).__name__}), expected {expected}")
