from __future__ import annotations

import math

import numpy as np
import pytest

from pipeline.errors import InvalidRecordError
from pipeline.events import decision_from
from pipeline.join.admission import admit, encode_missing, is_of_another_schema
from pipeline.policy.book import PolicyBook
from tests.samples import define, linear_policy, plain_decision, plain_policy

BETA = define(plain_policy())
LINEAR = define(linear_policy(name="linear"))


def book(*definitions) -> PolicyBook:
    known = PolicyBook()
    for definition in definitions:
        known.put(definition)
    return known


def refusal(known: PolicyBook, **fields) -> InvalidRecordError:
    with pytest.raises(InvalidRecordError) as caught:
        admit(decision_from(plain_decision(**fields)), known)
    return caught.value


def test_a_decision_is_admitted_under_the_generation_that_it_names():
    second = define(plain_policy(generation=2))
    decision = decision_from(plain_decision(generation=1))
    assert admit(decision, book(BETA, second)) is BETA


def test_an_unknown_policy_is_refused_with_those_that_are_known():
    error = refusal(book(BETA, LINEAR), policy="checkout")
    assert error.reason == "unknown-policy"
    assert "homepage, linear" in error.detail


def test_an_unknown_generation_is_refused_with_the_latest():
    error = refusal(book(BETA), generation=2)
    assert error.reason == "unknown-generation"
    assert "latest is 1" in error.detail


def test_an_arm_that_the_policy_does_not_have_is_refused():
    assert refusal(book(BETA), arm="c").reason == "unknown-arm"


def test_a_retired_arm_still_earns_credit():
    retired = define(plain_policy(arms=[{"name": "a", "retired": True}, {"name": "b"}]))
    assert admit(decision_from(plain_decision(arm="a")), book(retired)) is retired


@pytest.mark.parametrize("segment", ["a/b", "x@1", "a b", "ä", "/", "s" * 65])
def test_a_segment_that_is_no_name_is_refused(segment):
    """Statistics rows are keyed by policy/generation/segment/arm/bucket."""
    refusal(book(BETA), segment=segment)


@pytest.mark.parametrize(
    ("definition", "fields", "is_other"),
    [
        (LINEAR, {"context_vector": [4096]}, True),
        (LINEAR, {"context_vector": [4096, 1, 2, 3]}, True),
        (BETA, {"context_vector": [4096]}, True),
        (LINEAR, {"context_vector": [4096, 0, 0], "schema_hash": "0" * 16}, True),
        (LINEAR, {"context_vector": [4096, 0, 0], "schema_hash": LINEAR.schema_hash}, False),
        (LINEAR, {"schema_hash": "0" * 16}, False),
    ],
)
def test_a_context_vector_is_known_to_be_of_other_features_and_refuses_nothing(definition, fields, is_other):
    decision = decision_from(plain_decision(policy=definition.name, **fields))
    assert admit(decision, book(definition)) is definition
    assert is_of_another_schema(decision, definition) == is_other


def test_a_raw_context_is_encoded_and_an_encoded_one_is_left_alone():
    raw = decision_from(plain_decision(policy="linear", context={"x": -1.0, "y": 4.5}))
    encoded = decision_from(plain_decision(policy="linear", context_vector=[1, 2, 3]))
    plain = decision_from(plain_decision())
    vectors = encode_missing([(raw, LINEAR), (encoded, LINEAR), (plain, BETA)])
    # The intercept 1 is 4096; x = -1 is its lowest, y = 4.5 the middle of 0 to 9.
    assert [np.frombuffer(vector, "<i2").tolist() for vector in vectors] == [[4096, -4096, 0], [1, 2, 3], []]


def test_a_context_that_cannot_be_encoded_is_told_of_its_decision_alone():
    contexts = [
        {"x": 0.0, "y": 9.0},
        {"x": math.nan, "y": 1.0},
        {"y": 1.0},
        {"x": 2.0, "y": 1.0},
        {"x": True, "y": 1.0},
    ]
    decisions = [decision_from(plain_decision(policy="linear", context=context)) for context in contexts]
    good, *refused = encode_missing([(decision, LINEAR) for decision in decisions])
    assert np.frombuffer(good, "<i2").tolist() == [4096, 0, 4096]
    reasons = [error.reason for error in refused]
    assert reasons == ["feature-not-finite", "missing-feature", "feature-out-of-bounds", "wrong-feature-type"]
