from __future__ import annotations

import pytest

from pipeline.errors import DecodeError, InvalidRecordError
from pipeline.serve.bodies import DecideBody, OutcomeBody, decide_body, identifier, outcome_body


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
    raw = b'{"action_id": "x", "kind": "sale", "value": 3, "outcome_id": "o", "occurred_at_ms": 5}'
    assert outcome_body(raw) == OutcomeBody("x", "sale", 3.0, "o", 5)


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b'"text"', b"null", b"\xff", b'{"subject": "\\ud800"}'])
def test_what_is_no_json_object_is_refused(raw: bytes) -> None:
    for read in (decide_body, outcome_body):
        with pytest.raises(DecodeError, match="the body is"):
            read(raw)


@pytest.mark.parametrize(
    ("raw", "fault"),
    [
        (b'{"elegible": []}', 'unknown-field: "elegible" is unknown; accepted: context, eligible'),
        (b'{"context": []}', r"wrong-type: context is \[\] \(list\), expected an object"),
        (b'{"context": null}', "wrong-type: context is null"),
        (b'{"eligible": "a"}', "wrong-type: eligible is"),
        (b'{"eligible": ["a", 1]}', r"wrong-type: eligible\[1\] is 1"),
        (b'{"eligible": [""]}', r"out-of-range: eligible\[0\] has 0 characters"),
        (b'{"subject": 7}', "wrong-type: subject is 7"),
        (b'{"action_id": ""}', "out-of-range: action_id has 0 characters, expected 1 to 256"),
    ],
)
def test_a_faulty_request_to_decide_is_refused_with_its_fault(raw: bytes, fault: str) -> None:
    with pytest.raises(InvalidRecordError, match=fault):
        decide_body(raw)


@pytest.mark.parametrize(
    ("raw", "fault"),
    [
        (b'{"kind": "click"}', "missing-field: action_id is missing"),
        (b'{"action_id": "x"}', "missing-field: kind is missing"),
        (b'{"action_id": "x", "kind": "click", "worth": 1}', "unknown-field"),
        (b'{"action_id": "x", "kind": "click", "value": "1"}', "wrong-type: value"),
        (b'{"action_id": "x", "kind": "click", "value": true}', "wrong-type: value"),
        (b'{"action_id": "x", "kind": "click", "occurred_at_ms": 1.5}', "wrong-type: occurred_at_ms"),
        (b'{"action_id": "x", "kind": "click", "occurred_at_ms": true}', "wrong-type: occurred_at_ms"),
        (b'{"action_id": 1, "kind": "click"}', "wrong-type: action_id"),
    ],
)
def test_a_faulty_outcome_is_refused_with_its_fault(raw: bytes, fault: str) -> None:
    with pytest.raises(InvalidRecordError, match=fault):
        outcome_body(raw)


def test_a_list_has_no_more_arms_than_a_policy() -> None:
    with pytest.raises(InvalidRecordError, match="eligible has 10001 entries, expected at most 10000"):
        decide_body(b'{"eligible": [' + b",".join([b'"a"'] * 10_001) + b"]}")


def test_an_identifier_is_text_that_a_record_can_carry() -> None:
    assert identifier("x", "ä" * 256) == "ä" * 256
    with pytest.raises(InvalidRecordError, match="has 257 characters"):
        identifier("x", "a" * 257)
    with pytest.raises(InvalidRecordError, match="UTF-8"):
        identifier("x", "\ud800")
