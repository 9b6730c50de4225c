"""The quick way and the careful way of reading JSON say the same of every record that both accept."""

from __future__ import annotations

import json
import math
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.codec.quick import QUICK
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


@given(st.dictionaries(st.text(), st.integers() | st.floats() | st.text() | st.booleans(), max_size=4))
def test_contexts_are_the_same_to_the_bit(context):
    finite = {key: one for key, one in context.items() if not isinstance(one, float) or math.isfinite(one)}
    text = json.dumps(FULL | {"context": finite}).encode()
    assert_agrees("decision", text)
