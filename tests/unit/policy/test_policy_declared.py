"""What of a request may be logged, and what of that is kept."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.errors import ConfigError
from pipeline.policy.canonical import to_canonical_json
from pipeline.policy.declared import DeclaredFields
from pipeline.policy.definition import PolicyDefinition
from pipeline.policy.parsing.parse import load_canonical_json, parse_policy
from tests.samples import plain_policy

JANE = "jane.doe@example.org"
RULES: dict[str, Any] = {
    "default": "other",
    "rules": [
        {"name": "gold", "when": {"tier": {"in": ["gold", "silver"]}}},
        {"name": "new", "when": {"visits": {"below": 2}}},
    ],
}
WHOLE: dict[str, Any] = {
    "segments": RULES,
    "context": [
        {"name": "age", "kind": "numeric", "low": 0, "high": 100},
        {"name": "device", "kind": "categorical", "values": ["mobile", "desktop"]},
    ],
    "guardrails": {"eligibility": [{"arms": ["a"], "never_when": {"country": {"equals": "AT"}}}]},
    "logged": ["page"],
}


def policy(**others: Any) -> PolicyDefinition:
    return parse_policy(plain_policy(**(WHOLE | others)), "test")


@pytest.fixture
def declared() -> DeclaredFields:
    return policy().declared


def test_declared_are_features_fields_of_rules_and_what_is_logged(declared: DeclaredFields) -> None:
    assert declared.names == {"age", "device", "tier", "visits", "country", "page"}
    context = {"age": 30.0, "device": "mobile", "tier": "gold", "visits": 1, "country": "AT", "page": "/x"}
    assert declared.logged(context | {"email": JANE}) == context
    assert declared.kept(context | {"email": JANE}) == context
    assert declared.keeps_all(context, {})
    assert not declared.keeps_all(context | {"email": 1.0}, {})


@pytest.mark.parametrize("field", ["age", "device", "tier", "visits", "country"])
def test_a_text_that_the_policy_does_not_name_is_not_kept(declared: DeclaredFields, field: str) -> None:
    assert declared.logged({field: JANE}) == {field: JANE}
    assert declared.kept({field: JANE}) == {}
    assert not declared.keeps_all({field: JANE}, {})


def test_any_text_is_kept_of_a_field_that_is_declared_as_logged() -> None:
    declared = policy(logged=["page", "tier"]).declared
    assert declared.kept({"page": "/x", "tier": "bronze"}) == {"page": "/x", "tier": "bronze"}


def test_segments_and_eligibility_are_the_same_by_what_is_kept() -> None:
    made = policy()
    for tier in ("gold", "bronze", JANE, 3, None):
        context = {"tier": tier, "visits": 5}
        assert made.segments.segment_for(made.declared.kept(context)) == made.segments.segment_for(context)


def test_of_candidates_their_policys_features_are_kept() -> None:
    told = {"sku-7": {"price": 0.5, "born": 1984.0}}
    assert policy().declared.kept_of(told) == {}
    algorithm = {"name": "hybrid_thompson"}
    arms = [{"name": "a", "features": {"price": 0.1}}, {"name": "b", "features": {"price": 0.2}}]
    declared = policy(algorithm=algorithm, arms=arms, candidates={"features": ["price"]}).declared
    assert declared.kept_of(told) == {"sku-7": {"price": 0.5}}
    assert not declared.keeps_all({}, told)
    assert declared.keeps_all({}, {"sku-7": {"price": 0.5}})


def test_logged_is_a_part_of_the_policy_and_not_of_what_statistics_are_a_function_of() -> None:
    made, without = policy(), policy(logged=[])
    assert made.to_plain()["logged"] == ["page"]
    assert load_canonical_json(to_canonical_json(made), "again") == made
    assert "logged" not in without.to_plain()
    assert made.definition_hash != without.definition_hash
    assert made.statistics_hash == without.statistics_hash


@pytest.mark.parametrize("logged", ["page", [1], [""], ["a b"], [JANE], ["x"] * 101, [["x"]]])
def test_what_is_no_list_of_fields_is_refused_with_its_place(logged: object) -> None:
    with pytest.raises(ConfigError, match="logged"):
        policy(logged=logged)
