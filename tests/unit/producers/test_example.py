"""An example of a policy is accepted by it, whatever kinds of features it has; and credited."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from pipeline.join.step import Limits
from pipeline.policy.book import PolicyBook
from pipeline.policy.definition import PolicyDefinition
from pipeline.policy.parsing.parse import load_policy, parse_policy
from pipeline.producers.check import judge
from pipeline.producers.example import example_decision, example_outcome
from tests.samples import BASKET, linear_policy, plain_policy

TOP = Path(__file__).parents[3]
NOW_MS = 1_790_000_000_000
FILES = [TOP / "docs/example/homepage.toml", *sorted((TOP / "ops/policies").glob("*.toml"))]
KINDS: list[dict[str, Any]] = [
    {"name": "n", "kind": "numeric", "low": -3.0, "high": -1.0},
    {"name": "l", "kind": "logarithmic", "low": 10.0, "high": 1_000.0},
    {"name": "c", "kind": "categorical", "values": ["red", "blue"]},
    {"name": "b", "kind": "boolean"},
    {"name": "h", "kind": "hashed", "slots": 8},
    {"name": "q", "kind": "quantile", "knots": [1.0, 2.0, 5.0]},
    {"name": "p", "kind": "cyclic", "period": 24},
    {"name": "m", "kind": "numeric", "low": 5.0, "high": 6.0, "missing": "indicator"},
]


def check(definition: PolicyDefinition) -> None:
    book = PolicyBook()
    book.put(definition)
    made = [example_outcome(definition, NOW_MS + 1), example_decision(definition, NOW_MS)]
    verdicts = judge([orjson.dumps(one) for one in made], book, NOW_MS + 1, Limits())
    assert [(verdict.fate, verdict.reason, verdict.doubts) for verdict in verdicts] == [
        ("credited", "", ()),
        ("open", "", ()),
    ]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_examples_of_the_policies_that_ship_are_accepted_and_credited(path: Path) -> None:
    check(load_policy(path.read_text("utf-8"), path.name))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: f"{kind['name']}-{kind['kind']}")
def test_a_feature_of_any_kind_gets_a_value_within_its_bounds(kind: dict[str, Any]) -> None:
    check(parse_policy(linear_policy(context=[kind]), "p"))


def test_an_outcome_whose_value_counts_gets_one_within_its_bounds() -> None:
    above = BASKET | {"value_low": 3.0, "value_high": 8.0}
    check(parse_policy(plain_policy(outcomes=(above,)), "p"))
