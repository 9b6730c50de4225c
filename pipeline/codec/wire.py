"""Read what producers send to `decisions` and `outcomes`; the first byte tells the encoding.

C3 01 …   Avro single-object encoding
00 …      a registry's frame: a 4-byte big-endian schema id, then Avro or JSON (`codec/framed.py`)
{         JSON, one object

What a frame holds is written again in the first of these when it is accepted: what is kept of it, and what the ledger
says, is read for ever without the registry. And what a producer adds to a decision in JSON, nobody keeps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from pipeline.codec import avro
from pipeline.codec.framed import UNDECLARED, OwnWriter, Registry, Writer, read_framed
from pipeline.codec.nesting import read_json
from pipeline.codec.quick import QUICK
from pipeline.codec.quick_avro import DecisionReader
from pipeline.codec.unreadable import Unreadable
from pipeline.errors import DecodeError, RecordError
from pipeline.events import Decision, Event, decision_from, erasure_from, outcome_from, tick_from

# The largest record that is kept in state; a decision with 10,000 arms and 256 features is below 300 KB.
MAX_RECORD_BYTES = 1 << 20
# Outcomes of one action are kept together until its decision comes; one is some hundred bytes.
MAX_OUTCOME_BYTES = 1 << 16
# An action_id of 256 characters takes at most 1 KiB.
MAX_KEY_BYTES = 1 << 12

_BRACE = ord("{")

_CHECKS: Mapping[str, Callable[[Mapping[str, Any]], Event]] = {
    "decision": decision_from,
    "outcome": outcome_from,
    "tick": tick_from,
    "erasure": erasure_from,
}
# What else a topic carries beside its own records.
_BESIDE: Mapping[str, tuple[str, ...]] = {"decision": ("tick", "erasure"), "outcome": ("tick",)}


def decode_event(raw: bytes | None, expected: str, registry: Registry = UNDECLARED) -> Event:
    """Decode and check one record of a topic of decisions and erasures, or of outcomes; and of ticks.

    Args:
        raw: the record's value.
        expected: `decision` or `outcome`, which a JSON object is read as; Avro records say it themselves.
        registry: what is known of schema ids, for records in a registry's frame.

    Raises:
        UnresolvedSchemaError: the registry is to be asked first. DecodeError: the bytes are no record.
        InvalidRecordError: a record, but not an acceptable one.
    """
    try:
        return _decode(raw, expected, registry)
    except RecordError:
        raise
    except Exception as error:
        raise _tripped(error) from error


def _decode(raw: bytes | None, expected: str, registry: Registry) -> Event:
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
    if raw[0] == 0:
        return _decode_framed(raw, expected, registry)[0]
    name, fields = _decode_fields(raw, expected)
    if name != expected and name not in _BESIDE[expected]:
        raise DecodeError("unexpected-record", f"a {name} record where a {expected} belongs: check the topic")
    return _CHECKS[name](fields)


def _tripped(error: Exception) -> DecodeError:
    """Return the refusal of a record that its readers did not foresee: it is that record's matter alone."""
    return DecodeError("not-decodable", f"reading it failed by {error!r}")


def read_accepted(raw: bytes) -> Decision:
    """Read a decision that JOIN accepted before, as rows and ledger records carry it.

    Raises:
        DecodeError: the bytes are no decision.
    """
    # Releases before kept frames as they came, and had read them by the schema of their own time.
    event = decode_event(raw, "decision", _OWN)
    if not isinstance(event, Decision):
        raise DecodeError("unexpected-record", f"a {type(event).__name__} where a decision belongs")
    return event


class _Own:
    def get(self, schema_id: int, /) -> Writer | None:
        del schema_id
        return OwnWriter()


_OWN = _Own()


class BatchReader:
    """Decodes and checks the records of one batch of a topic, as `decode_event` does, and what it can the quick way."""

    def __init__(self, expected: str, registry: Registry) -> None:
        self.rewritten: bytes | None = None
        """Of a frame, or of JSON with more in it, what is to be kept of the record that was read last; whoever takes it
        puts None here."""
        self._expected = expected
        self._registry = registry
        self._limit = _limit(expected)
        self._read_json = QUICK[expected]
        self._decisions = DecisionReader() if expected == "decision" else None

    def read(self, raw: bytes | None) -> Event:
        """Decode one record; raises what `decode_event` does."""
        try:
            if raw and len(raw) <= self._limit:
                event: Event | None = None
                if raw[0] == _BRACE:
                    event = self._read_json(raw)
                elif self._decisions is not None and raw[0] == avro.MARKER[0]:
                    event = self._decisions.read(raw)
                elif raw[0] == 0:
                    event, self.rewritten = _decode_framed(raw, self._expected, self._registry)
                if event is not None:
                    return event
            event = _decode(raw, self._expected, self._registry)
            if isinstance(event, Decision) and raw is not None and raw[0] == _BRACE:
                self.rewritten = _without_strange_fields(raw)
        except RecordError:
            raise
        except Exception as error:
            raise _tripped(error) from error
        return event


def _without_strange_fields(raw: bytes) -> bytes:
    """Return a decision in JSON without what its producer added of its own."""
    return orjson.dumps({name: value for name, value in orjson.loads(raw).items() if name in Decision._fields})


def _limit(expected: str) -> int:
    return MAX_OUTCOME_BYTES if expected == "outcome" else MAX_RECORD_BYTES


def _decode_fields(raw: bytes, expected: str) -> tuple[str, Mapping[str, Any]]:
    if raw[0] == avro.MARKER[0]:
        if raw[:2] != avro.MARKER:
            raise DecodeError("not-decodable", f"first bytes {raw[:2].hex()}, expected {avro.MARKER.hex()} or JSON")
        return avro.decode(raw)
    fields = read_json(raw)
    if not isinstance(fields, dict):
        raise DecodeError("not-decodable", f"JSON {type(fields).__name__}, expected an object")
    return ("tick" if fields.keys() == {"event_time_ms"} else expected), fields


def _decode_framed(raw: bytes, expected: str, registry: Registry) -> tuple[Event, bytes]:
    """Return a framed record's event, and the bytes that say the same without a registry."""
    event = _CHECKS[expected](read_framed(raw, expected, registry))
    if isinstance(event, Decision):
        scalars = {name: value for name, value in event.context.items() if isinstance(value, str | float | int)}
        event = event._replace(context=scalars)
    try:
        kept = avro.encode(expected, event._asdict())
    except Exception as error:  # fastavro raises what its encoder trips over: a context of lists, say
        raise DecodeError("wrong-type", f"a {expected} whose fields have no place in ours: {error!r}") from error
    if len(kept) > _limit(expected):
        raise DecodeError("record-too-large", f"{len(kept)} bytes as Avro of ours, expected at most {_limit(expected)}")
    # What is joined now is what will be read later, to the last bit.
    return _CHECKS[expected](avro.decode(kept)[1]), kept
