from __future__ import annotations

from itertools import pairwise

import pytest

from pipeline.policy.analysis import AnalysisGroup
from pipeline.policy.canonical import to_canonical_json
from pipeline.policy.changes import check_change
from pipeline.policy.parsing.parse import load_canonical_json, parse_policy
from tests.samples import plain_policy
from tests.unit.policy.test_policy_parse import faults_of


def test_a_policy_without_a_group_has_the_text_that_it_always_had():
    definition = parse_policy(plain_policy(), "test")
    assert definition.analysis is None
    assert "analysis" not in definition.to_plain()


def test_a_group_goes_through_its_text_and_back():
    definition = parse_policy(plain_policy(analysis={"share": 0.05, "salt": "2026"}), "test")
    assert definition.analysis == AnalysisGroup(0.05, "2026")
    assert load_canonical_json(to_canonical_json(definition), "again") == definition


def test_a_group_may_come_change_and_go_within_a_generation():
    """Each decision says itself whether it is learned from."""
    steps = [parse_policy(plain_policy(**more), "test") for more in ({}, {"analysis": {"share": 0.2}}, {})]
    for old, new in pairwise(steps):
        check_change(old, new)
        assert old.statistics_hash == new.statistics_hash
        assert old.definition_hash != new.definition_hash


@pytest.mark.parametrize("share", [0, 1, -0.1, 1.5, "5 %", True, None])
def test_a_share_of_nobody_or_everybody_is_refused(share):
    (fault,) = faults_of(plain_policy(analysis={"share": share}))
    assert fault.startswith("analysis.share: ")
    assert "a number above 0, below 1" in fault


def test_an_unknown_key_is_named():
    (fault,) = faults_of(plain_policy(analysis={"share": 0.1, "size": 7}))
    assert fault.startswith("analysis.size")
