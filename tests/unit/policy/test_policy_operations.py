from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pipeline.errors import ConfigError
from pipeline.policy.changes import check_change
from pipeline.policy.definition import PolicyDefinition
from pipeline.policy.guardrails import Rollout, Switches
from pipeline.policy.operations import keep_switches, killed, revived, rolled_out
from pipeline.policy.parsing.parse import parse_policy


@pytest.fixture
def policy(full: dict[str, Any]) -> PolicyDefinition:
    return parse_policy(full, "test.toml")


def test_kill_and_revive_are_opposites_and_repeats_change_nothing(policy):
    for arms in ((), ("hybrid",), ("hybrid", "collab_filter")):
        off = killed(policy, arms)
        assert off.switches == Switches(is_killed=not arms, arms=tuple(sorted(arms)))
        assert off.definition_hash != policy.definition_hash
        assert killed(off, arms).definition_hash == off.definition_hash
        assert revived(off, arms).definition_hash == policy.definition_hash


def test_arms_are_killed_one_after_the_other_and_revived_together(policy):
    both = killed(killed(killed(policy, ("hybrid",)), ("collab_filter",)))
    assert both.switches == Switches(is_killed=True, arms=("collab_filter", "hybrid"))
    assert revived(both, ("hybrid",)).switches == Switches(is_killed=True, arms=("collab_filter",))
    assert revived(both).switches == Switches()


def test_an_arm_that_there_is_not_is_refused(policy):
    for change in (killed, revived):
        with pytest.raises(ConfigError, match="arm 'hybird' is none of collab_filter, hybrid, bestsellers"):
            change(policy, ("hybird",))


def test_what_is_switched_off_follows_by_every_rule_of_change(policy):
    check_change(policy, killed(policy, ("hybrid",)))
    check_change(killed(policy), policy)


def test_a_file_applied_anew_revives_nothing(policy):
    off = killed(killed(policy, ("hybrid",)))
    assert keep_switches(off, policy).switches == off.switches
    own = replace(policy, switches=Switches(arms=("collab_filter",)))
    assert keep_switches(off, own).switches == Switches(is_killed=True, arms=("collab_filter", "hybrid"))


def test_a_rollout_changes_its_share_and_mode_only(policy):
    follower = replace(policy, rollout=Rollout("frontpage", 0.05, "shadow", "salt"))
    assert rolled_out(follower, 0.2).rollout == Rollout("frontpage", 0.2, "shadow", "salt")
    assert rolled_out(follower, 0.2, "serve").rollout == Rollout("frontpage", 0.2, "serve", "salt")
    with pytest.raises(ConfigError, match="rollout: is not declared"):
        rolled_out(policy, 0.2)
