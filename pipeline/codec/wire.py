"""Read what producers send to `decisions` and `outcomes`; the first byte tells the encoding.

C3 01 …   Avro single-object encoding
00 …      Confluent's registry framing: a 4-byte big-endian schema id, then the binary record
{         JSON, one object
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from pipeline.codec import avro
from pipeline.codec.quick import QUICK
from pipeline.codec.quick_avro import DecisionReader
from pipeline.codec.schemas import current_schema
from pipeline.codec.unreadable import Unreadable
from pipeline.errors import DecodeError
from pipeline.events import Decision, Event, decision_from, erasure_from, outcome_from, tick_from

# The largest record that is kept in state; a decision with 10,000 arms and 256 features is below 300 KB.
MAX_RECORD_BYTES = 1 << 20
# Outcomes of one action are kept together until its decision comes; one is some hundred bytes.
MAX_OUTCOME_BYTES = 1 << 16
# An action_id of 256 characters takes at most 1 KiB.
MAX_KEY_BYTES = 1 << 12

CONFLUENT_HEADER_BYTES = 5
_BRACE = ord("{")

_CHECKS: Mapping[str, Callable[[Mapping[str, Any]], Event]] = {
    "decision": decision_from,
    "outcome": outcome_from,
    "tick": tick_from,
    "erasure": erasure_from,
}
# What else a topic carries beside its own records.
_BESIDE: Mapping[str, tuple[str, ...]] = {"decision": ("tick", "erasure"), "outcome": ("tick",)}


def decode_event(raw: bytes | None, expected: str, registry: Mapping[int, str]) -> Event:
    """Decode and check one record of a topic of decisions and erasures, or of outcomes; and of ticks.

    Args:
        raw: the record's value.
        expected: `decision` or `outcome`, which a JSON object is read as; Avro records say it themselves.
        registry: Confluent schema id → schema name, for producers that use a registry.

    Raises:
        DecodeError: the bytes are no record. InvalidRecordError: a record, but not an acceptable one.
    """
    if isinstance(raw, Unreadable):
        raise raw.error
    if not raw:
        raise DecodeError("empty-record", f"the record has no value, expected a {expected}")
    limit = _limit(expected)
    if len(raw) > limit:
        raise DecodeError("record-too-large", f"{len(raw)} bytes, expected at most {limit} of a {expected}")
    if raw[0] == _BRACE:
        event = QUICK[expected](raw)
        if event is not None:
            return event
    name, fields = _decode_fields(raw, expected, registry)
    if name != expected and name not in _BESIDE[expected]:
        raise DecodeError("unexpected-record", f"a {name} record where a {expected} belongs: check the topic")
    return _CHECKS[name](fields)


def read_accepted(raw: bytes) -> Decision:
    """Read a decision that JOIN accepted before, as a ledger record carries it: a registry's frame says no other thing.

    Raises:
        DecodeError: the bytes are no decision.
    """
    schema_id = int.from_bytes(raw[1:CONFLUENT_HEADER_BYTES], "big")
    event = decode_event(raw, "decision", {schema_id: "decision"})
    if not isinstance(event, Decision):
        raise DecodeError("unexpected-record", f"a {type(event).__name__} where a decision belongs")
    return event


class BatchReader:
    """Decodes and checks the records of one batch of a topic, as `decode_event` does, and what it can the quick way."""

    def __init__(self, expected: str, registry: Mapping[int, str]) -> None:
        self._expected = expected
        self._registry = registry
        self._limit = _limit(expected)
        self._read_json = QUICK[expected]
        self._decisions = DecisionReader() if expected == "decision" else None

    def read(self, raw: bytes | None) -> Event:
        """Decode one record; raises what `decode_event` does."""
        if raw and len(raw) <= self._limit:
            event: Event | None = None
            if raw[0] == _BRACE:
                event = self._read_json(raw)
            elif self._decisions is not None and raw[0] == avro.MARKER[0]:
                event = self._decisions.read(raw)
            if event is not None:
                return event
        return decode_event(raw, self._expected, self._registry)


def _limit(expected: str) -> int:
    return MAX_OUTCOME_BYTES if expected == "outcome" else MAX_RECORD_BYTES


def _decode_fields(raw: bytes, expected: str, registry: Mapping[int, str]) -> tuple[str, Mapping[str, Any]]:
    first = raw[0]
    if first == avro.MARKER[0]:
        if raw[:2] != avro.MARKER:
            raise DecodeError("not-decodable", f"first bytes {raw[:2].hex()}, expected {avro.MARKER.hex()} or JSON")
        return avro.decode(raw)
    if first == 0:
        return _decode_confluent(raw, registry)
    try:
        fields = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise DecodeError("not-decodable", f"neither Avro nor JSON (first bytes {raw[:8].hex()}): {error}") from error
    if not isinstance(fields, dict):
        raise DecodeError("not-decodable", f"JSON {type(fields).__name__}, expected an object")
    return ("tick" if fields.keys() == {"event_time_ms"} else expected), fields


def _decode_confluent(raw: bytes, registry: Mapping[int, str]) -> tuple[str, Mapping[str, Any]]:
    schema_id = int.from_bytes(raw[1:CONFLUENT_HEADER_BYTES], "big")
    name = registry.get(schema_id)
    if name is None:
        raise DecodeError(
            "unknown-fingerprint",
            f"registry schema id {schema_id} is unknown; start the worker with --registry-id {schema_id}=decision "
            "(or outcome), or send Avro single-object encoding",
        )
    return name, avro.decode_body(raw, CONFLUENT_HEADER_BYTES, current_schema(name))
