from __future__ import annotations

import math

import pytest

from pipeline.errors import InvalidRecordError
from pipeline.events import MAX_TIME_MS, UNDECODABLE_REASONS, Tick, decision_from, outcome_from, tick_from
from pipeline.policy.kinds import FEATURE_REASONS
from tests.samples import plain_decision, plain_outcome

NAN, INFINITY = math.nan, math.inf


def refusal(check, fields) -> str:
    with pytest.raises(InvalidRecordError) as caught:
        check(fields)
    return caught.value.reason


def test_a_decision_needs_only_what_cannot_be_guessed():
    decision = decision_from(plain_decision())
    assert (decision.generation, decision.snapshot_version, decision.reason) == (1, 0, "policy")
    assert (decision.context, decision.context_vector, decision.subject_hash) == ({}, b"", None)


@pytest.mark.parametrize("name", ["action_id", "policy", "segment", "arm", "propensity", "decided_at_ms"])
def test_a_decision_without_a_required_field_is_refused(name):
    fields = plain_decision()
    del fields[name]
    assert refusal(decision_from, fields) == "missing-field"


@pytest.mark.parametrize("name", ["outcome_id", "action_id", "kind", "occurred_at_ms"])
def test_an_outcome_without_a_required_field_is_refused(name):
    fields = plain_outcome()
    del fields[name]
    assert refusal(outcome_from, fields) == "missing-field"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("action_id", 7),
        ("policy", None),
        ("segment", ["new"]),
        ("arm", True),
        ("propensity", "0.5"),
        ("propensity", True),
        ("generation", 1.0),
        ("generation", True),
        ("eligible", "ab"),
        ("eligible", ["a", 1]),
        ("probabilities", [0.5, "0.5"]),
        ("probabilities", [0.5, NAN]),
        ("undecodable", 7),
        ("schema_hash", None),
        ("decided_at_ms", 1.7e12),
        ("decided_at_ms", "2026-01-01"),
        ("decided_at_ms", True),
        ("snapshot_version", "3"),
        ("snapshot_id", 3),
        ("subject_hash", 12),
    ],
)
def test_a_decision_s_field_of_the_wrong_type_is_refused(name, value):
    assert refusal(decision_from, plain_decision(**{name: value})) == "wrong-type"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("context", []),
        ("context", None),
        ("context", "Bern"),
        ("context_vector", "AAAA"),
        ("context_vector", None),
        ("context_vector", [1.5]),
        ("context_vector", [32_768]),
        ("context_vector", [-32_768]),
        ("context_vector", b"odd"),
    ],
)
def test_a_decision_whose_context_is_none_is_a_decision_and_says_so(name, value):
    decision = decision_from(plain_decision(**{"context": {"age": 30.0}, name: value}))
    assert decision.undecodable == "unreadable-context"
    assert (decision.context, decision.context_vector) == ({} if name == "context" else {"age": 30.0}, b"")


@pytest.mark.parametrize("told", ["", "missing-feature", "schema-mismatch"])
def test_a_decision_may_say_why_its_context_was_not_encoded(told):
    assert decision_from(plain_decision(undecodable=told)).undecodable == told
    assert decision_from(plain_decision(undecodable="a-word-of-a-later-release")).undecodable == "undecodable"


def test_why_a_context_was_not_encoded_is_any_reason_that_a_feature_gives():
    assert FEATURE_REASONS < UNDECODABLE_REASONS


@pytest.mark.parametrize("propensity", [0, 0.0, -0.1, 1.0000001, 2])
def test_a_propensity_outside_0_to_1_is_refused(propensity):
    assert refusal(decision_from, plain_decision(propensity=propensity)) == "propensity-out-of-range"


@pytest.mark.parametrize("propensity", [5e-324, 1.0, 1])
def test_every_propensity_above_0_up_to_1_is_accepted(propensity):
    assert decision_from(plain_decision(propensity=propensity)).propensity == propensity


@pytest.mark.parametrize("propensity", [NAN, INFINITY])
def test_a_propensity_that_is_no_finite_number_is_refused(propensity):
    assert refusal(decision_from, plain_decision(propensity=propensity)) == "out-of-range"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("action_id", ""),
        ("action_id", "x" * 257),
        ("arm", ""),
        ("generation", -1),
        ("snapshot_version", 2**63),
        ("decided_at_ms", -1),
        ("decided_at_ms", MAX_TIME_MS + 1),  # microseconds: 1.7e15
        ("reason", "mood"),
    ],
)
def test_a_decision_s_field_out_of_its_range_is_refused(name, value):
    assert refusal(decision_from, plain_decision(**{name: value})) == "out-of-range"


def test_an_id_may_have_256_characters_of_any_script():
    assert decision_from(plain_decision("語" * 256)).action_id == "語" * 256


@pytest.mark.parametrize(
    ("eligible", "probabilities"),
    [
        (["a", "b"], [0.5]),  # one each
        (["b", "c"], [0.5, 0.5]),  # the arm is not among them
        (["a", "b"], [0.5, 0.4]),  # sum 0.9
        (["a", "b", "c"], [0.5, 0.75, -0.25]),  # sum 1, but one is negative
        (["a", "b"], [0.6, 0.4]),  # the arm's is not the propensity 0.5
    ],
)
def test_probabilities_that_contradict_the_decision_are_refused(eligible, probabilities):
    fields = plain_decision(eligible=eligible, probabilities=probabilities)
    assert refusal(decision_from, fields) == "probabilities-inconsistent"


def test_probabilities_may_be_rounded_to_six_digits():
    fields = plain_decision(propensity=0.333333, eligible=["a", "b", "c"], probabilities=[0.333333] * 3)
    assert decision_from(fields).probabilities == [0.333333] * 3


def test_a_list_of_integers_and_avro_s_bytes_give_the_same_context_vector():
    # 4096 = 0x1000, -2 = 0xFFFE; little-endian
    packed = bytes.fromhex("0010feff")
    assert decision_from(plain_decision(context_vector=[4096, -2])).context_vector == packed
    assert decision_from(plain_decision(context_vector=packed)).context_vector == packed


def test_an_outcome_is_worth_one_unless_it_says_otherwise():
    assert outcome_from(plain_outcome()).value == 1.0
    assert outcome_from(plain_outcome(value=-3)).value == -3.0


@pytest.mark.parametrize("value", [NAN, INFINITY, -INFINITY])
def test_an_outcome_s_value_must_be_finite(value):
    assert refusal(outcome_from, plain_outcome(value=value)) == "value-not-finite"


@pytest.mark.parametrize("value", ["1", None, True])
def test_an_outcome_s_value_must_be_a_number(value):
    assert refusal(outcome_from, plain_outcome(value=value)) == "wrong-type"


def test_a_tick_is_a_time():
    assert tick_from({"event_time_ms": 5}) == Tick(5)
    assert refusal(tick_from, {"event_time_ms": MAX_TIME_MS + 1}) == "out-of-range"


def test_a_message_shows_at_most_80_characters_of_what_was_seen():
    with pytest.raises(InvalidRecordError) as caught:
        decision_from(plain_decision(action_id=["x" * 1_000_000]))
    assert len(caught.value.detail) < 200
