"""The quick ways and the careful way of reading say the same of every record that both accept."""

from __future__ import annotations

import json
import math
import struct
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.codec import avro, quick_avro, schemas
from pipeline.codec.quick import QUICK
from pipeline.codec.quick_avro import DecisionReader
from pipeline.errors import RecordError
from pipeline.events import decision_from, outcome_from
from tests.samples import plain_decision, plain_outcome

CAREFUL = {"decision": decision_from, "outcome": outcome_from}
FULL = plain_decision(
    "x",
    1_700_000_000_000,
    arm="a",
    propensity=0.25,
    generation=2,
    eligible=["a", "b"],
    probabilities=[0.25, 0.75],
    context={"age": 30, "share": 0.5, "device": "mobile", "member": True},
    context_vector=[4096, -32767, 0],
    schema_hash="5e1f",
    snapshot_version=7,
    snapshot_id="0dd5",
    subject_hash="5u81ec7",
    reason="holdout",
    guardrails=["floor"],
)


class OnlyItsAction(msgspec.Struct):
    action_id: str


CLICK = plain_outcome("x", 1_700_000_000_500, "o", value=2)


def careful(name: str, raw: bytes) -> Any:
    try:
        fields = orjson.loads(raw)
        return CAREFUL[name](fields) if isinstance(fields, dict) else None
    except (orjson.JSONDecodeError, RecordError, OverflowError):
        return None


def types_of(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: types_of(one) for key, one in value.items()}
    return type(value)


def assert_agrees(name: str, raw: bytes) -> None:
    quick = QUICK[name](raw)
    if quick is None:
        return
    known = careful(name, raw)
    assert quick == known
    # An integer must not become a float on the way: messages show what was sent.
    assert [types_of(one) for one in quick] == [types_of(one) for one in known]


@pytest.mark.parametrize(("name", "record"), [("decision", FULL), ("decision", plain_decision()), ("outcome", CLICK)])
def test_records_as_they_should_be_are_read_quickly(name, record):
    raw = orjson.dumps(record)
    assert QUICK[name](raw) == careful(name, raw)
    assert QUICK[name](raw) is not None


ODD = [
    *(
        None,
        True,
        False,
        0,
        1,
        -1,
        1.0,
        0.0,
        -0.0,
        1e300,
        1.5,
        "",
        "a",
        "ö" * 256,
        "a" * 257,
        [],
        {},
        [1],
        ["a"],
        [0.5],
    ),
    *(
        2**31,
        2**53 + 1,
        2**63 - 1,
        2**63,
        2**64,
        10**30,
        -(2**63),
        -(2**63) - 1,
        253_402_300_799_999,
        253_402_300_800_000,
    ),
    *([32767], [32768], [-32768], [1.0], [True], ["a", "b"], [0.25, 0.75], [1, 0], [0.5, 0.5], {"a": 1}, {"a": 10**30}),
    *({"a": {}}, {"a": None}, {"a": [1]}, {"": 2**63}, "policy", "fallback", "unknown", "\x00"),
]


@pytest.mark.parametrize(("name", "record"), [("decision", FULL), ("outcome", CLICK)])
def test_no_odd_value_of_any_field_is_read_in_two_ways(name, record):
    for field in record:
        assert_agrees(name, orjson.dumps({key: value for key, value in record.items() if key != field}))
        for odd in ODD:
            text = orjson.dumps({**record, field: "@"})
            # Python's own writer, since orjson writes no integer above 64 bits.
            assert_agrees(name, text.replace(b'"@"', json.dumps(odd).encode()))
        assert_agrees(name, orjson.dumps(record | {"another": odd}))


PIECES = [b"", b"0", b"9", b"e", b".", b'"', b"}", b"\xff", b"\x00", b"-", b"\\", b" "]


@given(st.sampled_from([("decision", FULL), ("outcome", CLICK)]), st.data())
def test_no_damaged_record_is_read_in_two_ways(sample, data):
    name, record = sample
    raw = bytearray(orjson.dumps(record))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(raw) - 1))
        piece = data.draw(
            st.sampled_from([b"", b"0", b"9", b"e", b".", b'"', b"}", b"\xff", b"\x00", b"-", b"\\", b" "])
        )
        raw[at : at + data.draw(st.integers(0, 2))] = piece
    assert_agrees(name, bytes(raw))


@pytest.mark.parametrize("beside", [b'"note":"\xff"', b'"\xff":1', b'"note":["a",{"b":"\xc3"}]'])
def test_broken_text_in_a_producer_s_own_field_is_refused_though_msgspec_would_skip_it(beside):
    raw = orjson.dumps(CLICK)[:-1] + b"," + beside + b"}"
    assert msgspec.json.decode(raw, type=OnlyItsAction).action_id == "x"
    assert QUICK["outcome"](raw) is None
    assert careful("outcome", raw) is None


@given(st.dictionaries(st.text(), st.integers() | st.floats() | st.text() | st.booleans(), max_size=4))
def test_contexts_are_the_same_to_the_bit(context):
    finite = {key: one for key, one in context.items() if not isinstance(one, float) or math.isfinite(one)}
    text = json.dumps(FULL | {"context": finite}).encode()
    assert_agrees("decision", text)


VECTOR = struct.pack("<3h", 4096, -32767, 0)
NUMBERS = FULL | {"context": {"age": 30.0, "share": 0.5}, "context_vector": VECTOR}
MIXED = FULL | {"context": {"age": 30.0, "device": "mobile"}, "context_vector": VECTOR}
BARE = {key: value for key, value in plain_decision().items() if key != "context_vector"}


def careful_avro(raw: bytes) -> Any:
    try:
        name, fields = avro.decode(raw)
        return decision_from(fields) if name == "decision" else None
    except (RecordError, OverflowError):
        return None


@pytest.mark.parametrize("record", [NUMBERS, NUMBERS | {"context": {}}, NUMBERS | {"subject_hash": None}, BARE])
def test_avro_decisions_as_they_should_be_are_read_quickly(record):
    raw = avro.encode("decision", record)
    assert DecisionReader().read(raw) == careful_avro(raw)
    assert DecisionReader().read(raw) is not None


def test_contexts_of_other_names_in_other_orders_are_read_by_one_reader_without_mixing_them_up():
    reader = DecisionReader()
    contexts: list[dict[str, float]] = [
        {"a": 1.0, "b": 2.0},
        {"b": 3.0, "a": 4.0},
        {"b": 5.0, "c": 6.0},  # the same first name, as many bytes
        {},
        {"a": 7.0},
        {"aa": 8.0},
        {"a": 9.0},
    ]
    for context in contexts:
        decision = reader.read(avro.encode("decision", NUMBERS | {"context": context}))
        assert decision is not None
        assert list(decision.context.items()) == list(context.items())


@pytest.mark.parametrize(
    "odd",
    [
        *({"propensity": value} for value in (0.0, 1.5, -0.25, math.nan, math.inf)),
        *({"action_id": value} for value in ("", "a" * 257, "ö" * 256)),
        *({"decided_at_ms": value} for value in (-1, 0, 253_402_300_799_999, 253_402_300_800_000)),
        *({"probabilities": value} for value in ([0.25], [math.nan, 0.75], [0.5, 0.5], [])),
        *({"generation": -1}, {"snapshot_version": -1}, {"context_vector": b"odd"}, {"reason": "unknown"}, MIXED),
    ],
)
def test_no_odd_avro_decision_is_read_in_two_ways(odd):
    raw = avro.encode("decision", NUMBERS | odd)
    quick = DecisionReader().read(raw)
    assert quick is None or quick == careful_avro(raw)


@given(st.sampled_from([NUMBERS, MIXED, BARE]), st.data())
def test_no_damaged_avro_decision_is_read_in_two_ways(record, data):
    whole = avro.encode("decision", record)
    raw = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 2))):
        at = data.draw(st.integers(avro.HEADER_BYTES, len(raw) - 1))
        raw[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
    reader = DecisionReader()
    assert reader.read(whole) is not None or record is MIXED
    quick = reader.read(bytes(raw))
    # By their text, since a damaged number may be none, which equals nothing.
    assert quick is None or repr(quick) == repr(careful_avro(bytes(raw)))


def test_a_decision_of_another_schema_is_left_to_the_library(monkeypatch):
    monkeypatch.setattr(quick_avro, "LAYOUT", b"another!")
    assert DecisionReader().read(avro.encode("decision", NUMBERS)) is None


def test_the_layout_is_that_of_the_current_schema():
    assert schemas.current_schema("decision").fingerprint == quick_avro.LAYOUT
