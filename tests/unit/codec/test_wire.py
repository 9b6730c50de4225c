from __future__ import annotations

import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.codec import avro, wire
from pipeline.codec.framed import UNDECLARED, Declared
from pipeline.codec.nesting import MAX_NESTING
from pipeline.codec.schemas import current_schema
from pipeline.codec.wire import MAX_RECORD_BYTES, decode_event, read_accepted
from pipeline.errors import DecodeError, InvalidRecordError, RecordError
from pipeline.events import Decision, Outcome, Tick
from pipeline.join.changes import decode_arrivals
from tests.samples import plain_decision, plain_outcome
from tests.traffic import as_avro

REGISTRY = Declared({7: "decision", 8: "outcome"})


def decode(raw: bytes | None, expected: str = "decision"):
    return decode_event(raw, expected, REGISTRY)


def refusal(raw: bytes | None, expected: str = "decision") -> str:
    with pytest.raises(RecordError) as caught:
        decode(raw, expected)
    return caught.value.reason


def test_json_avro_and_the_registry_s_framing_say_the_same():
    fields = plain_decision(
        "x", 1_000, context={"age": 30.0, "device": "mobile", "member": True}, context_vector=[1, -2]
    )
    single_object = as_avro("decisions", fields)
    # Confluent: 00, the schema id in 4 bytes, the record
    framed = b"\x00\x00\x00\x00\x07" + single_object[avro.HEADER_BYTES :]
    assert decode(orjson.dumps(fields)) == decode(single_object) == decode(framed)
    assert isinstance(decode(framed), Decision)


def test_an_outcome_is_read_from_its_topic():
    raw = orjson.dumps(plain_outcome())
    assert isinstance(decode(raw, "outcome"), Outcome)


@pytest.mark.parametrize("expected", ["decision", "outcome"])
def test_a_tick_may_come_on_either_topic_in_either_encoding(expected):
    assert decode(b'{"event_time_ms": 12}', expected) == Tick(12)
    assert decode(avro.encode("tick", {"event_time_ms": 12}), expected) == Tick(12)


@pytest.mark.parametrize("fields", [plain_decision(), plain_outcome()])
def test_a_field_called_event_time_ms_does_not_make_a_record_a_tick(fields):
    expected = "decision" if "propensity" in fields else "outcome"
    event = decode(orjson.dumps(fields | {"event_time_ms": 12}), expected)
    assert not isinstance(event, Tick)


@pytest.mark.parametrize("raw", [None, b""])
def test_a_record_without_a_value_is_refused(raw):
    assert refusal(raw) == "empty-record"


@pytest.mark.parametrize(
    "raw",
    [
        b"hello",
        b"{",
        b"[1, 2]",
        b'"text"',
        b"17",
        b"\xff\xfe",
        b"\xc3",
        b"\xc3\x02" + bytes(20),
        b'{"propensity": NaN}',
        b'{"action_id": "\\ud800"}',
        b"[" * 5_000,
    ],
)
def test_what_is_neither_avro_nor_a_json_object_is_refused(raw):
    assert refusal(raw) == "not-decodable"


def test_a_schema_that_nobody_knows_is_refused_with_those_that_are_known():
    with pytest.raises(DecodeError, match=current_schema("decision").fingerprint.hex()) as caught:
        decode(b"\xc3\x01" + b"unknown!" + b"body")
    assert caught.value.reason == "unknown-fingerprint"
    assert b"unknown!".hex() in caught.value.detail


def test_a_fingerprint_that_is_cut_short_is_refused():
    assert refusal(b"\xc3\x01\x00") == "unknown-fingerprint"


def test_a_registry_id_that_nobody_told_is_refused_with_the_option_that_tells_it():
    with pytest.raises(DecodeError, match="--registry URL") as caught:
        decode(b"\x00\x00\x00\x00\x09body")
    assert caught.value.reason == "unknown-fingerprint"


def test_every_cut_of_an_avro_record_is_refused():
    raw = as_avro("decisions", plain_decision("x", 1_000, context={"age": 30.0}))
    for length in range(1, len(raw)):
        assert refusal(raw[:length]) in {"not-decodable", "unknown-fingerprint"}


def test_bytes_behind_an_avro_record_are_refused():
    assert refusal(as_avro("decisions", plain_decision()) + b"\x00") == "not-decodable"


@pytest.mark.parametrize("count", [b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01", b"\xff\xff\xff\xff\x0f"])
def test_a_length_that_the_record_cannot_have_is_refused(count):
    # The first field is a string: its length comes first, and says 2^63 - 1 or a negative number.
    assert refusal(avro.MARKER + current_schema("decision").fingerprint + count + b"abc") == "not-decodable"


def test_a_record_in_the_other_s_topic_is_refused():
    assert refusal(avro.encode("outcome", plain_outcome()), "decision") == "unexpected-record"
    assert refusal(as_avro("decisions", plain_decision()), "outcome") == "unexpected-record"
    assert refusal(avro.encode("policy", {"name": "p", "generation": 1, "definition": "{}"})) == "unexpected-record"


def test_a_record_of_one_mebibyte_is_read_and_a_larger_one_is_refused():
    fields = plain_decision(context={"text": ""})
    padding = "x" * (MAX_RECORD_BYTES - len(orjson.dumps(fields)))
    fields["context"]["text"] = padding
    assert len(orjson.dumps(fields)) == MAX_RECORD_BYTES
    assert isinstance(decode(orjson.dumps(fields)), Decision)
    fields["context"]["text"] += "x"
    assert refusal(orjson.dumps(fields)) == "record-too-large"


def test_an_avro_number_that_is_not_finite_is_refused():
    with pytest.raises(InvalidRecordError) as caught:
        decode(avro.encode("outcome", plain_outcome(value=float("nan"))), "outcome")
    assert caught.value.reason == "value-not-finite"


# Whatever a field holds: the odd values that JSON has, and any in lists and objects.
ODD = st.recursive(
    st.sampled_from([None, True, 0, -1, 2**63, 2**64, 1e300, "", "x", "\0", "é" * 300]) | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "x"]), inner, max_size=2),
)
SAMPLES = {"decision": plain_decision("x", 1_000), "outcome": plain_outcome("x", 1_000, "o")}
FIELDS = [("decision", name) for name in Decision._fields] + [("outcome", name) for name in Outcome._fields]


def read_or_refused(record: str, raw: bytes) -> RecordError | None:
    """Take a record as JOIN does; what is accepted is kept in bytes that say the same."""
    (arrival,) = decode_arrivals(f"{record}s", [(0, 1_000, None, raw)], UNDECLARED)
    if isinstance(arrival.event, RecordError):
        return arrival.event
    if isinstance(arrival.event, Decision):
        kept = read_accepted(arrival.kept)
        # What is no context can't be kept, and there is none in either.
        assert kept._replace(context={}, undecodable="") == arrival.event._replace(context={}, undecodable="")
    return None


@pytest.mark.parametrize("frame", [b"", b"\0\0\0\0\x4d"])
@given(field=st.sampled_from([*FIELDS, ("decision", "strange"), ("outcome", "strange")]), value=ODD)
def test_whatever_a_field_holds_is_this_record_s_matter(frame, field, value):
    record, name = field
    read_or_refused(record, frame + json.dumps(SAMPLES[record] | {name: value}).encode())


@pytest.mark.parametrize("frame", [b"", b"\0\0\0\0\x4d"])
@pytest.mark.parametrize(("opens", "closes"), [("[", "]"), ('{"a":', "}")])
@pytest.mark.parametrize(("record", "name"), [*FIELDS, ("decision", "strange"), ("outcome", "strange")])
def test_what_is_nested_too_deep_is_refused_in_whatever_field_before_anybody_walks_it(
    frame, opens, closes, record, name
):
    body = orjson.dumps({key: value for key, value in SAMPLES[record].items() if key != name})[:-1]
    for depth in (MAX_NESTING, MAX_NESTING + 1, 250, 900, 5_000):
        raw = frame + body + f',"{name}":{opens * depth}1{closes * depth}}}'.encode()
        error = read_or_refused(record, raw)
        if depth > MAX_NESTING:
            assert error is not None
            assert error.reason == "not-decodable"


def test_a_reader_that_trips_over_a_record_refuses_that_record(monkeypatch):
    monkeypatch.setattr(wire, "_CHECKS", {"decision": {}.__getitem__, "outcome": {}.__getitem__})
    raw = orjson.dumps(SAMPLES["decision"] | {"strange": 1})
    with pytest.raises(DecodeError, match="TypeError"):
        decode(raw)
    error = read_or_refused("decision", raw)
    assert error is not None
    assert error.reason == "not-decodable"
