from __future__ import annotations

from copy import deepcopy

import pytest

from pipeline.errors import ConfigError
from pipeline.join.step import Limits
from pipeline.policy.book import PolicyBook
from pipeline.replay.recounting.plan import make_plan, plan_from_json
from tests.samples import BASKET, define, linear_policy, plain_policy


def book(*policies: dict) -> PolicyBook:
    known = PolicyBook()
    for policy in policies:
        known.put(define(policy))
    return known


def faults(known: PolicyBook, new: dict | None, source: str, into: int = 2) -> str:
    with pytest.raises(ConfigError) as refused:
        make_plan(known, "homepage", into, None if new is None else define(new), source, Limits())
    return "; ".join(refused.value.faults)


def other(policy: dict, **rule: object) -> dict:
    """Give generation 2 of a policy with another rule for clicks."""
    new = deepcopy(policy) | {"generation": 2}
    new["reward"]["outcomes"][0] |= rule
    return new


def test_the_definition_in_force_is_replayed_if_no_other_is_given():
    plan = make_plan(book(plain_policy(), plain_policy(generation=4)), "homepage", 9, None, "events", Limits())
    assert plan.definition == define(plain_policy(generation=9))
    assert plan.generations == (1, 4)


def test_a_generation_that_exists_is_not_replayed_into():
    assert "3 is free" in faults(book(plain_policy(generation=2)), None, "events")


def test_the_ledger_can_not_be_weighed_under_another_feature_schema():
    assert "feature schema" in faults(book(plain_policy()), linear_policy(generation=2), "ledger")


def test_under_another_feature_schema_contexts_of_all_generations_are_encoded_anew():
    known = book(plain_policy(), plain_policy(generation=2))
    plan = make_plan(known, "homepage", 3, define(linear_policy(generation=3)), "events", Limits())
    assert (plan.is_encoded_anew, plan.generations) == (True, (1, 2))
    assert plan_from_json(plan.to_json()) == plan
    same = make_plan(known, "homepage", 3, None, "events", Limits())
    assert not same.is_encoded_anew
    assert "is_encoded_anew" not in same.to_json(), "plans of older snapshots read as they were written"


def test_generations_of_another_feature_schema_are_left_out():
    known = book(linear_policy(), plain_policy(generation=2))
    assert make_plan(known, "homepage", 3, None, "ledger", Limits()).generations == (2,)


def test_an_arm_whose_decisions_are_to_be_counted_is_not_left_out():
    assert '"b" is gone' in faults(book(plain_policy()), plain_policy(generation=2, arms=[{"name": "a"}]), "events")


def test_an_unknown_policy_is_named():
    assert "unknown; known: none" in faults(PolicyBook(), None, "events")


@pytest.mark.parametrize(
    ("rule", "fault"),
    [
        ({"window": "11s"}, "the window of 'click' is longer"),
        ({"kind": "visit"}, "'visit' were not credited"),
        ({"window": "9s", "worth": 0.5}, None),
    ],
)
def test_the_ledger_tells_of_what_was_credited_and_nothing_else(rule, fault):
    known, new = book(plain_policy()), other(plain_policy(), **rule)
    if fault is None:
        assert make_plan(known, "homepage", 2, define(new), "ledger", Limits()).source == "ledger"
    else:
        assert fault in faults(known, new, "ledger")


@pytest.mark.parametrize(("low", "high", "is_told"), [(-3.0, 8.0, True), (-1.0, 2.0, True), (-3.0, 8.5, False)])
def test_the_ledger_has_no_values_that_were_refused(low, high, is_told):
    policy = plain_policy(outcomes=(BASKET,))
    new = other(policy, value_low=low, value_high=high)
    if is_told:
        make_plan(book(policy), "homepage", 2, define(new), "ledger", Limits())
    else:
        assert "more values of 'basket'" in faults(book(policy), new, "ledger")


def test_the_ledger_of_a_policy_that_waits_has_no_open_decisions():
    new = plain_policy(generation=2, settle="optimistic")
    assert "open decisions are not in the ledger" in faults(book(plain_policy()), new, "ledger")
    make_plan(book(plain_policy(settle="optimistic")), "homepage", 2, define(plain_policy()), "ledger", Limits())
