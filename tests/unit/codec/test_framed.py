"""Records in a registry's frame are read as their writer wrote them; the cases are what producers' generators make."""

import io
import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import fastavro
import orjson
import pytest

from pipeline.codec import avro
from pipeline.codec.framed import AvroWriter, Declared, UnresolvedSchemaError, schema_ids, writer_of
from pipeline.codec.nesting import MAX_NESTING
from pipeline.codec.wire import BatchReader, decode_event, read_accepted
from pipeline.errors import ConfigError, DecodeError, RecordError
from pipeline.events import Decision, Outcome
from pipeline.join.changes import decode_arrivals
from tests.samples import plain_decision, plain_outcome
from tests.traffic import as_avro

AT_MS = 1_700_000_000_123
OUTCOME = Outcome("o-1", "x", "click", 1.0, AT_MS)
TEXTS = [{"name": name, "type": "string"} for name in ("outcome_id", "action_id", "kind")]
VALUE = {"name": "value", "type": "double"}
TIME = {"name": "occurred_at_ms", "type": "long"}
SAID = {"outcome_id": "o-1", "action_id": "x", "kind": "click", "value": 1.0, "occurred_at_ms": AT_MS}


def schema(*fields: Any, name: str = "Outcome") -> str:
    return json.dumps({"type": "record", "name": name, "namespace": "shop", "fields": fields})


def written(text: str, record: dict[str, Any], schema_id: int = 11) -> bytes:
    """Frame a record that fastavro, as any producer's library, writes by the producer's own schema."""
    buffer = io.BytesIO()
    fastavro.schemaless_writer(buffer, fastavro.parse_schema(json.loads(text)), record)
    return b"\0" + schema_id.to_bytes(4, "big") + buffer.getvalue()


def read(text: str, record: dict[str, Any], expected: str = "outcome", **known: Any) -> Any:
    return decode_event(written(text, record), expected, known or {11: AvroWriter(text)})


def logical(kind: str, base: Any = "long", **more: Any) -> dict[str, Any]:
    return {"type": base, "logicalType": kind, **more}


def nullable(kind: Any) -> list[Any]:
    return ["null", kind]


KIND_ENUM = {"type": "enum", "name": "K", "symbols": ["buy", "click"]}
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "the same": (schema(*TEXTS, VALUE, TIME), {}),
    "reordered": (schema(TEXTS[1], TEXTS[0], TEXTS[2], TIME, VALUE), {}),
    "all texts the other way round": (schema(*reversed(TEXTS), VALUE, TIME), {}),
    "nullable": (schema(*({**field, "type": nullable(field["type"])} for field in (*TEXTS, VALUE, TIME))), {}),
    "a null where there is a default": (
        schema(*TEXTS, {"name": "value", "type": nullable("double"), "default": None}, TIME),
        {"value": None},
    ),
    "without the field that has a default": (schema(*TEXTS, TIME), {}),
    "evolved": (schema(*TEXTS, VALUE, TIME, {"name": "page", "type": nullable("string"), "default": None}), {}),
    "value as an int": (schema(*TEXTS, {"name": "value", "type": "int"}, TIME), {"value": 1}),
    "value as a float": (schema(*TEXTS, {"name": "value", "type": "float"}, TIME), {}),
    "value as a decimal": (
        schema(*TEXTS, {"name": "value", "type": logical("decimal", "bytes", precision=9, scale=2)}, TIME),
        {"value": Decimal("1.00")},
    ),
    "kind as an enum": (
        schema(
            *TEXTS[:2],
            {"name": "kind", "type": {"type": "enum", "name": "K", "symbols": ["buy", "click"]}},
            VALUE,
            TIME,
        ),
        {},
    ),
    "kind as bytes": (schema(*TEXTS[:2], {"name": "kind", "type": "bytes"}, VALUE, TIME), {"kind": b"click"}),
    "kind as fixed": (
        schema(*TEXTS[:2], {"name": "kind", "type": {"type": "fixed", "name": "F", "size": 5}}, VALUE, TIME),
        {"kind": b"click"},
    ),
    "millis": (schema(*TEXTS, VALUE, {**TIME, "type": logical("timestamp-millis")}), {}),
    "millis as a date": (
        schema(*TEXTS, VALUE, {**TIME, "type": nullable(logical("timestamp-millis"))}),
        {"occurred_at_ms": datetime.fromtimestamp(AT_MS // 1000, UTC).replace(microsecond=123_000)},
    ),
    "micros": (
        schema(*TEXTS, VALUE, {**TIME, "type": logical("timestamp-micros")}),
        {"occurred_at_ms": AT_MS * 1_000 + 999},
    ),
    "nullable micros": (
        schema(*TEXTS, VALUE, {**TIME, "type": nullable(logical("timestamp-micros"))}),
        {"occurred_at_ms": AT_MS * 1_000},
    ),
    "nanos": (
        schema(*TEXTS, VALUE, {**TIME, "type": logical("timestamp-nanos")}),
        {"occurred_at_ms": AT_MS * 1_000_000},
    ),
    "renamed, with ours as an alias": (
        schema({"name": "id", "type": "string", "aliases": ["outcome_id"]}, *TEXTS[1:], VALUE, TIME),
        {"id": "o-1"},
    ),
    "one of several records": (
        json.dumps([json.loads(one) for one in (schema(VALUE, name="Other"), schema(*TEXTS, VALUE, TIME))]),
        {},
    ),
}


@pytest.mark.parametrize("name", KINDS)
def test_an_outcome_says_the_same_however_its_schema_has_it(name):
    text, others = KINDS[name]
    assert read(text, SAID | others) == OUTCOME


def test_a_uuid_is_its_text():
    text = schema({"name": "outcome_id", "type": logical("uuid", "string")}, *TEXTS[1:], VALUE, TIME)
    id_ = UUID("0b5a0f4e-54a1-4b39-9d5a-7f6b2a1f7f3e")
    assert read(text, SAID | {"outcome_id": id_}).outcome_id == str(id_)


def test_a_referred_schema_is_read_before_the_one_that_refers():
    kind = json.dumps({"type": "enum", "name": "shop.K", "symbols": ["buy", "click"]})
    text = schema(*TEXTS[:2], {"name": "kind", "type": "shop.K"}, VALUE, TIME)
    raw = written(schema(*TEXTS[:2], {"name": "kind", "type": json.loads(kind)}, VALUE, TIME), SAID)
    assert decode_event(raw, "outcome", {11: writer_of("AVRO", text, [kind])}) == OUTCOME


DECISION_FIELDS = [
    {"name": "decided_at_ms", "type": logical("timestamp-micros")},
    {"name": "arm", "type": "string"},
    {"name": "policy", "type": "string"},
    {"name": "segment", "type": "string"},
    {"name": "action_id", "type": "string"},
    {"name": "propensity", "type": "float"},
    {"name": "subject_hash", "type": nullable("string"), "default": None},
    {
        "name": "context",
        "type": {
            "type": "record",
            "name": "Context",
            "fields": [
                {"name": "age", "type": nullable("int")},
                {"name": "device", "type": {"type": "enum", "name": "Device", "symbols": ["mobile"]}},
                {"name": "member", "type": "boolean"},
                {"name": "spent", "type": nullable("double")},
            ],
        },
    },
]
DECIDED = {
    **plain_decision("x", AT_MS, propensity=0.5),
    "decided_at_ms": AT_MS * 1_000,
    "context": {"age": 30, "device": "mobile", "member": True, "spent": None},
}


def test_a_decision_keeps_its_context_as_features_want_it():
    event = read(schema(*DECISION_FIELDS, name="Shown"), DECIDED, "decision")
    assert isinstance(event, Decision)
    assert (event.decided_at_ms, event.propensity) == (AT_MS, 0.5)
    assert event.context == {"age": 30.0, "device": "mobile", "member": True}


def test_what_is_kept_of_a_framed_decision_is_read_without_the_registry_as_the_same():
    text = schema(*DECISION_FIELDS, name="Shown")
    raw = written(text, DECIDED)
    (arrival,) = decode_arrivals("decisions", [(1, 2, b"x", raw)], {11: AvroWriter(text)})
    assert arrival.raw == raw
    assert arrival.kept[:2] == avro.MARKER
    assert read_accepted(arrival.kept) == arrival.event


def test_a_record_that_is_not_framed_is_kept_as_it_came():
    raws = [orjson.dumps(plain_decision("x", AT_MS)), as_avro("decisions", plain_decision("x", AT_MS))]
    text = schema(*DECISION_FIELDS, name="Shown")
    records = [(offset, 2, b"x", raw) for offset, raw in enumerate((written(text, DECIDED), *raws))]
    framed, *others = decode_arrivals("decisions", records, {11: AvroWriter(text)})
    assert framed.rewritten is not None
    assert [arrival.kept for arrival in others] == raws


def test_json_in_a_frame_is_json_whoever_told_its_id():
    raw = b"\0\0\0\0\x4d" + orjson.dumps(plain_outcome("x", AT_MS))
    assert isinstance(decode_event(raw, "outcome"), Outcome)
    assert decode_event(raw, "outcome", {77: writer_of("JSON", "{}")}) == decode_event(raw, "outcome")


def test_json_in_a_frame_leaves_nulls_to_their_defaults():
    raw = b"\0\0\0\0\x4d" + orjson.dumps(SAID | {"value": None})
    assert decode_event(raw, "outcome") == OUTCOME


def test_avro_of_an_id_that_nobody_told_is_refused_with_what_tells_it():
    with pytest.raises(DecodeError, match=r"--registry URL.*11\.avsc.*--registry-schemas") as caught:
        decode_event(written(schema(*TEXTS, VALUE, TIME), SAID), "outcome")
    assert caught.value.reason == "unknown-fingerprint"


def test_an_id_that_was_not_asked_for_yet_is_neither_good_nor_bad():
    with pytest.raises(UnresolvedSchemaError) as caught:
        decode_event(written(schema(*TEXTS, VALUE, TIME), SAID), "outcome", {})
    assert caught.value.schema_id == 11
    assert schema_ids([None, b"", b"\0\0", b"{}", b"\0\0\0\0\x0bx"]) == {11}


def test_protobuf_is_named():
    with pytest.raises(DecodeError, match="Protobuf is not read") as caught:
        decode_event(b"\0\0\0\0\x0b\0\x0a", "outcome", {11: writer_of("PROTOBUF", 'syntax = "proto3";')})
    assert caught.value.reason == "unsupported-schema"


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_a_cut_body_is_refused(cut):
    text = schema(*TEXTS, VALUE, TIME)
    for raw in (written(text, SAID)[:-cut], written(text, SAID) + bytes(cut)):
        with pytest.raises(RecordError):
            decode_event(raw, "outcome", {11: AvroWriter(text)})


@pytest.mark.parametrize("text", ["nonsense", '{"type": "record"}', '{"type": "nobody"}', "[]]"])
def test_what_is_no_schema_is_told(text):
    with pytest.raises(ConfigError, match="not an Avro schema"):
        AvroWriter(text)


EMPTY = {"type": "record", "name": "Nothing", "fields": [{"name": "none", "type": "null"}]}
ENDLESS = {
    "nulls": ("null", []),
    "empty records": (EMPTY, []),
    "of no size": ({"type": "fixed", "name": "F", "size": 0}, []),
    "by name": ("Nothing", [EMPTY]),
    "of a record of one": ({"type": "record", "name": "Around", "fields": [{"name": "in", "type": EMPTY}]}, []),
}


@pytest.mark.parametrize("what", ENDLESS)
def test_a_schema_of_which_few_bytes_are_any_number_of_values_is_refused(what):
    items, before = ENDLESS[what]
    named = [{"name": f"before{at}", "type": one} for at, one in enumerate(before)]
    many = {"name": "many", "type": nullable({"type": "array", "items": items})}
    with pytest.raises(ConfigError, match="an array of what takes no bytes"):
        AvroWriter(schema(*TEXTS, VALUE, TIME, *named, many))
    # One byte for each says which it is, and what is no array is there once.
    counted = {"name": "many", "type": {"type": "array", "items": nullable("string")}}
    text = schema(*TEXTS, VALUE, TIME, {"name": "once", "type": EMPTY}, counted)
    assert read(text, SAID | {"once": {"none": None}, "many": [None, "x"]}) == OUTCOME


@pytest.mark.parametrize("is_referred", [False, True])
def test_a_record_of_a_schema_that_contains_itself_is_read_and_refused_where_it_is_too_deep(is_referred):
    # 02 chooses the branch that goes deeper, 00 the one that ends: each level is one byte.
    node = {"type": "record", "name": "shop.Node", "fields": [{"name": "next", "type": ["null", "Node"]}]}
    text = schema(*TEXTS, VALUE, TIME, {"name": "path", "type": ["null", "shop.Node" if is_referred else node]})
    writer = AvroWriter(text, [json.dumps(node)] if is_referred else [])
    sound = written(schema(*TEXTS, VALUE, TIME), SAID)
    assert decode_event(sound + b"\x02" * MAX_NESTING + b"\0", "outcome", {11: writer}) == OUTCOME
    # The deepest would take the compiled reader's stack, and the process with it.
    for depth in (MAX_NESTING + 1, 1_000, 60_000):
        with pytest.raises(DecodeError) as caught:
            decode_event(sound + b"\x02" * depth + b"\0", "outcome", {11: writer})
        assert caught.value.reason == "not-decodable"


def test_a_context_that_ours_has_no_place_for_is_said_to_be_none():
    fields = [*DECISION_FIELDS[:-1], {"name": "context", "type": {"type": "array", "items": "int"}}]
    event = read(schema(*fields, name="Shown"), DECIDED | {"context": [1]}, "decision")
    assert isinstance(event, Decision)
    assert (event.context, event.undecodable) == ({}, "unreadable-context")


@pytest.mark.parametrize("strange", [[1.0], {"of": 1.0}])
def test_a_value_of_a_context_that_ours_has_no_place_for_is_left_out(strange):
    fields = plain_decision("x", AT_MS, context={"age": 30.0, "strange": strange})
    event = decode_event(b"\0\0\0\0\x4d" + orjson.dumps(fields), "decision")
    assert isinstance(event, Decision)
    assert (event.context, event.undecodable) == ({"age": 30.0}, "")


def test_a_record_of_something_else_names_the_fields_that_it_has():
    with pytest.raises(RecordError, match="'page'") as caught:
        read(schema({"name": "page", "type": "string"}), {"page": "home"})
    assert caught.value.reason == "missing-field"


def test_frames_in_ledgers_of_before_are_read_as_they_were_taken():
    fields = plain_decision("x", AT_MS)
    framed = b"\0\0\0\0\x07" + as_avro("decisions", fields)[avro.HEADER_BYTES :]
    assert read_accepted(framed) == decode_event(orjson.dumps(fields), "decision")
    assert decode_event(framed, "decision", Declared({7: "decision"})) == read_accepted(framed)


def test_a_reader_of_a_batch_reads_frames_as_one_by_one():
    text = schema(*TEXTS, VALUE, TIME)
    assert BatchReader("outcome", {11: AvroWriter(text)}).read(written(text, SAID)) == OUTCOME
