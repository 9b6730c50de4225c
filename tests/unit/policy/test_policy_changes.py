from __future__ import annotations

from copy import deepcopy

import pytest

from pipeline.errors import ConfigError
from pipeline.policy.changes import check_change
from pipeline.policy.parsing.parse import parse_policy


def faults_of_change(old, new):
    with pytest.raises(ConfigError) as caught:
        check_change(parse_policy(old, "old"), parse_policy(new, "new"))
    return caught.value.faults


@pytest.fixture
def new(full):
    return deepcopy(full)


def test_the_same_definition_may_follow_itself(full, new):
    check_change(parse_policy(full, "old"), parse_policy(new, "new"))


def test_what_only_reads_statistics_may_change_within_a_generation(full, new):
    new["exploration"]["floor"] = 0.1
    new["algorithm"] = {"name": "lin_ucb"}
    new["arms"].append({"name": "fourth"})
    new["arms"][1]["retired"] = True
    check_change(parse_policy(full, "old"), parse_policy(new, "new"))


def test_other_statistics_ask_for_the_next_generation(full, new):
    new["context"].pop()
    new["attribution"]["settle"] = "optimistic"
    (fault,) = faults_of_change(full, new)
    assert fault.startswith("generation: 3 has statistics made under another context, attribution; ")
    assert "raise `generation` to 4" in fault


def test_in_a_higher_generation_statistics_may_change(full, new):
    new["context"].pop()
    new["generation"] = 4
    check_change(parse_policy(full, "old"), parse_policy(new, "new"))


def test_the_generation_never_goes_down(full, new):
    new["generation"] = 2
    assert faults_of_change(full, new) == ("generation: 2 is below the current 3; it never goes down",)


@pytest.mark.parametrize("generation", [3, 4])
def test_an_arm_is_retired_not_removed(full, new, generation):
    new["generation"] = generation
    del new["arms"][1]
    (fault,) = faults_of_change(full, new)
    assert fault == 'arms: "hybrid" is gone but its decisions may still earn credit; keep it with retired = true'


def test_another_policy_does_not_follow(full, new):
    new["name"] = "checkout"
    (fault,) = faults_of_change(full, new)
    assert fault.startswith('name: "checkout" does not follow "homepage"')


def test_every_fault_of_a_change_is_named_at_once(full, new):
    new["statistics"]["bucket"] = "1h"
    new["arms"] = [{"name": "other"}]
    assert [fault.split(":")[0] for fault in faults_of_change(full, new)] == ["generation", "arms", "arms", "arms"]


def test_worths_may_change_within_a_generation_where_kinds_are_counted_apart(full, new):
    for policy, worth in ((full, 0.5), (new, 0.25)):
        del policy["reward"]["cap"]
        policy["reward"]["combine"] = "weighted"
        policy["reward"]["outcomes"][0]["worth"] = worth
    check_change(parse_policy(full, "old"), parse_policy(new, "new"))
    assert parse_policy(full, "old").definition_hash != parse_policy(new, "new").definition_hash
    # Bounds are those of the grid that statistics are on.
    new["reward"]["high"] = 1_000
    (fault,) = faults_of_change(full, new)
    assert "statistics made under another reward" in fault


def test_in_any_other_combination_a_worth_is_in_the_statistics(full, new):
    new["reward"]["outcomes"][0]["worth"] = 0.5
    (fault,) = faults_of_change(full, new)
    assert "statistics made under another reward" in fault
