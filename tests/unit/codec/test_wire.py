from __future__ import annotations

import orjson
import pytest

from pipeline.codec import avro
from pipeline.codec.framed import Declared
from pipeline.codec.schemas import current_schema
from pipeline.codec.wire import MAX_RECORD_BYTES, decode_event
from pipeline.errors import DecodeError, InvalidRecordError, RecordError
from pipeline.events import Decision, Outcome, Tick
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
