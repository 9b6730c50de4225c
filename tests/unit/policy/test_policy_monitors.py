from __future__ import annotations

import pytest

from pipeline.policy.canonical import to_canonical_json
from pipeline.policy.monitors import LabelRateRule, Monitors
from pipeline.policy.parsing.parse import load_canonical_json, parse_policy
from tests.samples import plain_policy
from tests.unit.policy.test_policy_parse import faults_of


def test_a_policy_that_says_nothing_of_them_is_watched_and_has_the_text_that_it_always_had():
    definition = parse_policy(plain_policy(), "test")
    assert definition.monitors == Monitors(LabelRateRule(0.2, 5.0, 600_000, holds=False))
    assert "monitors" not in definition.to_plain()


def test_a_rule_goes_through_its_text_and_back():
    rule = {"low": 0.1, "high": 8.0, "look": "30m", "hold": True}
    definition = parse_policy(plain_policy(monitors={"label_rate": rule}), "test")
    assert definition.monitors.label_rate == LabelRateRule(0.1, 8.0, 1_800_000, holds=True)
    assert load_canonical_json(to_canonical_json(definition), "again") == definition
    assert definition.statistics_hash == parse_policy(plain_policy(), "test").statistics_hash


@pytest.mark.parametrize(
    ("rule", "place"),
    [
        ({"low": 1.0}, "low"),
        ({"high": 1.0}, "high"),
        ({"look": "1s"}, "look"),
        ({"hold": "yes"}, "hold"),
        ({"x": 1}, "x"),
    ],
)
def test_what_is_no_rule_is_named_with_its_place(rule: dict[str, object], place: str):
    (fault,) = faults_of(plain_policy(monitors={"label_rate": rule}))
    assert fault.startswith(f"monitors.label_rate.{place}: ")
