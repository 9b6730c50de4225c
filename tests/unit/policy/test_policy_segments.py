from __future__ import annotations

import pytest

from pipeline.policy.segments import Condition, Segmentation, SegmentRule

SEGMENTS = Segmentation(
    (
        SegmentRule("new", (Condition("visits", "below", 2.0),)),
        SegmentRule(
            "premium", (Condition("premium", "equals", operand=True), Condition("country", "in", ("DE", "FR")))
        ),
        SegmentRule("new", (Condition("invited", "equals", operand=True),)),
    ),
    "other",
)


@pytest.mark.parametrize(
    ("context", "segment"),
    [
        ({"visits": 1, "premium": True, "country": "DE"}, "new"),  # the first match wins
        ({"visits": 2, "premium": True, "country": "DE"}, "premium"),
        ({"visits": 2, "premium": True, "country": "IT"}, "other"),  # all conditions must hold
        ({"visits": 2, "invited": True}, "new"),  # two rules may name one segment
        ({}, "other"),
    ],
)
def test_the_first_rule_whose_conditions_all_hold_names_the_segment(context, segment):
    assert SEGMENTS.segment_for(context) == segment


@pytest.mark.parametrize("visits", ["1", None, True, [1], float("nan")])
def test_a_value_of_the_wrong_type_matches_no_rule(visits):
    assert SEGMENTS.segment_for({"visits": visits}) == "other"


@pytest.mark.parametrize(
    ("operator", "matching", "others"),
    [
        ("at_least", [2, 2.5], [1.9]),
        ("above", [2.1], [2, 1]),
        ("at_most", [2, 1], [2.1]),
        ("below", [1.9], [2, 3]),
        ("equals", [2, 2.0], [2.1, "2", True]),
    ],
)
def test_each_operator_draws_its_line_at_two(operator, matching, others):
    condition = Condition("x", operator, 2.0)
    assert all(condition.is_met(value) for value in matching)
    assert not any(condition.is_met(value) for value in others)


@pytest.mark.parametrize(
    ("operand", "value", "is_met"),
    [(True, True, True), (True, 1, False), (1.0, True, False), ("a", "a", True), ("a", "A", False), (False, 0, False)],
)
def test_true_is_not_one(operand, value, is_met):
    assert Condition("x", "equals", operand).is_met(value) is is_met
    assert Condition("x", "in", ("other", operand)).is_met(value) is is_met


def test_names_every_segment_once():
    assert SEGMENTS.names == ("new", "other", "premium")
