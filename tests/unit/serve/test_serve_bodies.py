from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import DecodeError, InvalidRecordError, RecordError
from pipeline.serve.messages.bodies import MAX_BATCH, DecideBody, DecideManyBody, OutcomeBody, identifier
from pipeline.serve.messages.reading import reader_of

decide_body = reader_of(DecideBody)
outcome_body = reader_of(OutcomeBody)


def test_a_decide_body_may_be_empty_or_full() -> None:
    assert decide_body(b"{}") == DecideBody({}, None, None, None)
    raw = b'{"context": {"age": 3}, "eligible": ["a", "b"], "subject": "ada", "action_id": "x"}'
    assert decide_body(raw) == DecideBody({"age": 3}, ["a", "b"], "ada", "x")
    assert decide_body(b'{"eligible": null, "subject": null, "action_id": null}') == decide_body(b"{}")


def test_an_empty_list_of_arms_is_not_the_same_as_none() -> None:
    assert decide_body(b'{"eligible": []}').eligible == []


def test_an_outcome_body_needs_an_action_and_a_kind() -> None:
    raw = b'{"action_id": "x", "kind": "click"}'
    assert outcome_body(raw) == OutcomeBody("x", "click", 1.0, None, None)
    raw = b'{"action_id": "x", "kind": "sale", "value": 3, "outcome_id": "o", "occurred_at_ms": 1700000000000}'
    assert outcome_body(raw) == OutcomeBody("x", "sale", 3.0, "o", 1_700_000_000_000)


@pytest.mark.parametrize(
    "raw",
    [
        *(b"", b"{", b"[]", b'"text"', b"null", b"\xff", b'{"subject": "\\ud800"}', b'{"subject": "\xff"}'),
        b'{"context": {"a": NaN}}',
        b'{"context": {"a": ' + b"[" * 100_000 + b"}}",
    ],
)
def test_what_is_no_json_object_is_refused(raw: bytes) -> None:
    with pytest.raises(DecodeError, match="the body is"):
        decide_body(raw)


@pytest.mark.parametrize(
    ("raw", "fault"),
    [
        (b'{"elegible": []}', "unknown-field: the body: Object contains unknown field `elegible`"),
        (b'{"context": []}', r"wrong-type: context is \[\]: Expected `object`, got `array`"),
        (b'{"context": null}', "wrong-type: context is null"),
        (b'{"eligible": "a"}', 'wrong-type: eligible is "a"'),
        (b'{"eligible": ["a", 1]}', r"wrong-type: eligible\[1\] is 1"),
        (b'{"eligible": [""]}', r'out-of-range: eligible\[0\] is "": Expected `str` of length >= 1'),
        (b'{"subject": 7}', "wrong-type: subject is 7"),
        (b'{"action_id": ""}', 'out-of-range: action_id is "": Expected `str` of length >= 1'),
        (b'{"context": {"a": 1e999}}', "out-of-range: context"),
    ],
)
def test_a_faulty_request_to_decide_is_refused_with_its_fault(raw: bytes, fault: str) -> None:
    with pytest.raises(InvalidRecordError, match=fault):
        decide_body(raw)


@pytest.mark.parametrize(
    ("raw", "fault"),
    [
        (b'{"kind": "click"}', "missing-field: the body: Object missing required field `action_id`"),
        (b'{"action_id": "x"}', "missing-field: the body: Object missing required field `kind`"),
        (b'{"action_id": "x", "kind": "click", "worth": 1}', "unknown-field"),
        (b'{"action_id": "x", "kind": "click", "value": "1"}', "wrong-type: value"),
        (b'{"action_id": "x", "kind": "click", "value": true}', "wrong-type: value"),
        (b'{"action_id": "x", "kind": "click", "occurred_at_ms": 1.5}', "out-of-range: occurred_at_ms is 1.5"),
        (b'{"action_id": "x", "kind": "click", "occurred_at_ms": true}', "wrong-type: occurred_at_ms"),
        (b'{"action_id": "x", "kind": "click", "occurred_at_ms": -1}', "out-of-range: occurred_at_ms is -1"),
        (b'{"action_id": 1, "kind": "click"}', "wrong-type: action_id"),
        (b'{"action_id": "jane@example.org", "kind": "click"}', "out-of-range: action_id"),
        (b'{"action_id": "x", "kind": "Jane Doe"}', "out-of-range: kind"),
    ],
)
def test_a_faulty_outcome_is_refused_with_its_fault(raw: bytes, fault: str) -> None:
    with pytest.raises(InvalidRecordError, match=fault):
        outcome_body(raw)


def test_a_list_has_no_more_arms_than_a_policy() -> None:
    with pytest.raises(InvalidRecordError, match=r"eligible is .*: Expected `array` of length <= 10000"):
        decide_body(b'{"eligible": [' + b",".join([b'"a"'] * 10_001) + b"]}")


def test_a_batch_is_bounded_and_a_fault_in_it_has_its_place() -> None:
    read = reader_of(DecideManyBody)
    with pytest.raises(InvalidRecordError, match=f"requests is .*: Expected `array` of length <= {MAX_BATCH}"):
        read(b'{"requests": [' + b",".join([b"{}"] * (MAX_BATCH + 1)) + b"]}")
    with pytest.raises(InvalidRecordError, match=r"wrong-type: requests\[1\]\.subject is 7"):
        read(b'{"requests": [{}, {"subject": 7}]}')


@given(raw=st.binary(max_size=60))
def test_any_bytes_are_read_or_refused_and_never_anything_else(raw: bytes) -> None:
    for read in (decide_body, outcome_body):
        try:
            read(raw)
        except RecordError as error:
            assert error.detail  # noqa: PT017


def test_an_identifier_is_text_that_a_record_can_carry() -> None:
    assert identifier("x", "ä" * 256) == "ä" * 256
    with pytest.raises(InvalidRecordError, match="has 257 characters"):
        identifier("x", "a" * 257)
    with pytest.raises(InvalidRecordError, match="UTF-8"):
        identifier("x", "\ud800")
