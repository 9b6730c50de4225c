"""What promoting a replay puts in force, after people have gone on working."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest

from pipeline.errors import ConfigError
from pipeline.join.step import Limits
from pipeline.policy.book import PolicyBook
from pipeline.replay.recounting.plan import ReplayPlan, make_plan, plan_from_json, promoted, renewed, uncounted
from tests.samples import CLICK, LIKE, define, plain_policy

BEGUN = plain_policy(exploration={"floor": 0.01})


def planned(asked: dict[str, Any] | None = None, begun: dict[str, Any] = BEGUN) -> ReplayPlan:
    plan = make_plan(book(begun), "homepage", 2, None if asked is None else define(asked), "events", Limits())
    return plan_from_json(plan.to_json())


def book(*policies: dict[str, Any]) -> PolicyBook:
    known = PolicyBook()
    for policy in policies:
        known.put(define(policy))
    return known


def longer(**others: Any) -> dict[str, Any]:
    """Give the policy with another window, which statistics are a function of."""
    return deepcopy(BEGUN) | {
        "reward": {"low": 0.0, "high": 1.0, "combine": "max", "outcomes": [CLICK | {"window": "20s"}, LIKE]},
        **others,
    }


def edited(**parts: Any) -> dict[str, Any]:
    return deepcopy(BEGUN) | parts


RETIRED = [{"name": "a"}, {"name": "b", "retired": True}]


@pytest.mark.parametrize("asked", [None, longer()], ids=["the one in force", "another window"])
def test_what_was_edited_since_the_replay_began_stays(asked):
    now = edited(arms=RETIRED, exploration={"floor": 0.05}, publish={"interval": "2s"}, logged=["page"])
    found = promoted(planned(asked), define(now))
    # The edit, in the replay's generation and with its statistics.
    assert found == define((now if asked is None else now | {"reward": asked["reward"]}) | {"generation": 2})


def test_what_the_replay_s_definition_changed_beside_statistics_is_put_in_force():
    asked = longer(exploration={"floor": 0.02}, algorithm={"name": "beta_thompson", "sharpness": 2.0})
    found = promoted(planned(asked), define(edited(arms=RETIRED)))
    assert found == define(asked | {"generation": 2, "arms": RETIRED})


def test_what_was_asked_for_and_edited_otherwise_is_refused_with_all_three_values():
    plan = planned(longer(exploration={"floor": 0.02}))
    with pytest.raises(
        ConfigError, match=r"exploration.floor: was 0.01, asked for was 0.02, and it was edited to 0.03"
    ):
        promoted(plan, define(edited(exploration={"floor": 0.03})))
    # What the message says to do: either value will do.
    for floor in (0.01, 0.02):
        assert promoted(plan, define(edited(exploration={"floor": floor}))).floor == 0.02


def test_a_part_that_means_nothing_without_the_rest_is_merged_as_a_whole():
    asked = longer(algorithm={"name": "beta_thompson", "sharpness": 2.0})
    with pytest.raises(ConfigError, match="algorithm: was"):
        promoted(planned(asked), define(edited(algorithm={"name": "gaussian_thompson"})))


def test_worths_of_kinds_that_are_counted_apart_are_no_statistics_and_stay_as_edited():
    def weighted(worth: float) -> dict[str, Any]:
        outcomes = [CLICK | {"worth": worth}, LIKE]
        return edited(reward={"low": 0.0, "high": 1.0, "combine": "weighted", "outcomes": outcomes})

    found = promoted(planned(begun=weighted(0.5)), define(weighted(0.25)))
    assert found == define(weighted(0.25) | {"generation": 2})


def test_an_arm_that_was_added_meanwhile_stays_and_the_replay_counts_anew_with_it():
    added = edited(arms=[{"name": "a"}, {"name": "b"}, {"name": "c"}])
    plan, known = planned(longer(arms=RETIRED)), book(added)
    assert uncounted(plan, known) == ["arm 'c'"]
    anew = renewed(plan, known)
    assert anew.definition.arm_names == ("a", "b", "c")
    assert anew.definition.reward == plan.definition.reward
    assert uncounted(anew, known) == []
    # What was asked for at first is asked for still, and an edit that comes now is kept too.
    found = promoted(anew, define(added | {"exploration": {"floor": 0.04}}))
    assert found.active_arms == ("a", "c")
    assert found.floor == 0.04


def test_history_that_was_loaded_meanwhile_is_named_and_a_plan_made_anew_counts_it():
    plan, known = planned(longer()), book(BEGUN)
    assert uncounted(plan, known, has_history=True) == ["history"]
    anew = renewed(plan, known, has_history=True)
    assert plan_from_json(anew.to_json()) == anew
    assert uncounted(anew, known, has_history=True) == []
    with pytest.raises(ConfigError, match="which the ledger does not have"):
        make_plan(known, "homepage", 2, None, "ledger", Limits(), has_history=True)


def test_a_generation_that_was_begun_by_hand_meanwhile_is_named():
    known = book(BEGUN, plain_policy(generation=2))
    plan = replace(planned(), definition=define(edited(generation=3)))
    assert uncounted(plan, known) == ["generation 2"]
    assert renewed(plan, known).generations == (1, 2)


def test_what_an_arm_of_the_new_generation_earns_is_no_matter_of_the_replay():
    plan = planned()
    after = edited(generation=2, arms=[{"name": "a"}, {"name": "b"}, {"name": "c"}])
    assert uncounted(plan, book(BEGUN, after)) == []
    assert promoted(plan, define(after)) == define(after)


def test_switches_that_a_definition_holds_stay_off():
    now = edited(killed={"arms": ["b"]})
    assert promoted(planned(longer()), define(now)).switches.arms == ("b",)


def test_a_generation_below_the_one_in_force_is_not_promoted():
    with pytest.raises(ConfigError, match="3 is in force, 2 was made before it; replay into 4"):
        promoted(planned(), define(edited(generation=3)))


def test_of_an_earlier_release_s_replay_nobody_knows_what_was_asked_for():
    plan = replace(planned(longer()), replaces=None)
    assert "replaces" not in plan.to_json()
    assert plan_from_json(plan.to_json()) == plan
    assert promoted(plan, define(BEGUN)) == define(longer(generation=2))
    with pytest.raises(ConfigError, match=r"differs from what is in force in exploration.floor"):
        promoted(plan, define(edited(exploration={"floor": 0.05})))
