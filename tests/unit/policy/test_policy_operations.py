from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pipeline.errors import ConfigError
from pipeline.policy.changes import check_change
from pipeline.policy.definition import PolicyDefinition
from pipeline.policy.guardrails import Rollout, Switches
from pipeline.policy.operations import keep_switches, killing, revived, reviving, rolled_out
from pipeline.policy.parsing.parse import parse_policy
from pipeline.policy.switches import Switch, SwitchBoard


@pytest.fixture
def policy(full: dict[str, Any]) -> PolicyDefinition:
    return parse_policy(full, "test.toml")


def worn(policy: PolicyDefinition, *turns: list[Switch]) -> Switches:
    board = SwitchBoard()
    for switches in turns:
        for switch in switches:
            board.turn(switch._asdict())
    return board.applied(policy).switches


def test_kill_and_revive_are_opposites_and_repeats_change_nothing(policy):
    for arms in ((), ("hybrid",), ("hybrid", "collab_filter")):
        off = killing(policy, arms, 1)
        assert worn(policy, off) == Switches(is_killed=not arms, arms=tuple(sorted(arms)))
        assert worn(policy, off, off) == worn(policy, off)
        assert worn(policy, off, reviving(policy, arms, (), 2)) == Switches()


def test_arms_are_killed_each_by_itself_and_revived_together(policy):
    by_one, by_another, whole = (killing(policy, arms, 1) for arms in (("hybrid",), ("collab_filter",), ()))
    assert worn(policy, by_one, by_another, whole) == Switches(is_killed=True, arms=("collab_filter", "hybrid"))
    assert len({switch.key for switch in (*by_one, *by_another, *whole)}) == 3
    one_again = reviving(policy, ("hybrid",), (), 2)
    assert worn(policy, by_one, by_another, whole, one_again) == Switches(is_killed=True, arms=("collab_filter",))
    all_again = reviving(policy, (), ("", "collab_filter", "hybrid"), 2)
    assert worn(policy, by_one, by_another, whole, all_again) == Switches()


def test_an_arm_that_there_is_not_is_refused(policy):
    for change in (lambda arms: killing(policy, arms, 1), lambda arms: revived(policy, arms)):
        with pytest.raises(ConfigError, match="arm 'hybird' is none of collab_filter, hybrid, bestsellers"):
            change(("hybird",))


def test_what_a_definition_has_off_is_off_whatever_the_switches_say_until_it_is_revived_too(policy):
    declared = replace(policy, switches=Switches(is_killed=True, arms=("hybrid",)))
    assert worn(declared, reviving(policy, (), (), 2)) == declared.switches
    assert revived(declared).switches == Switches()
    assert revived(declared, ("hybrid",)).switches == Switches(is_killed=True)
    check_change(declared, policy)


def test_a_switch_of_an_arm_that_a_definition_has_not_changes_nothing(policy):
    assert worn(policy, [Switch("homepage", "gone", is_off=True, turned_at_ms=1)]) == Switches()


def test_a_file_applied_anew_revives_nothing(policy):
    off = replace(policy, switches=Switches(is_killed=True, arms=("hybrid",)))
    assert keep_switches(off, policy).switches == off.switches
    own = replace(policy, switches=Switches(arms=("collab_filter",)))
    assert keep_switches(off, own).switches == Switches(is_killed=True, arms=("collab_filter", "hybrid"))


def test_a_rollout_changes_its_share_and_mode_only(policy):
    follower = replace(policy, rollout=Rollout("frontpage", 0.05, "shadow", "salt"))
    assert rolled_out(follower, 0.2).rollout == Rollout("frontpage", 0.2, "shadow", "salt")
    assert rolled_out(follower, 0.2, "serve").rollout == Rollout("frontpage", 0.2, "serve", "salt")
    with pytest.raises(ConfigError, match="rollout: is not declared"):
        rolled_out(policy, 0.2)
