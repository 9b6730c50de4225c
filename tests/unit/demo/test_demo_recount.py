from __future__ import annotations

from typing import Any

from pipeline.demo.recount import Recount, Total, first_difference, snapshot_totals


def reward(action_id: str, revision: int, reward: int, **others: Any) -> dict[str, Any]:
    fields = {"policy": "p", "segment": "s", "arm": "a", "is_settled": False, "outcomes": []}
    return {**fields, "action_id": action_id, "revision": revision, "reward": reward, **others}


def recounted(*records: dict[str, Any]) -> Recount:
    recount = Recount("p")
    for offset, record in enumerate(records):
        recount.take(0, offset, record)
    return recount


def test_an_action_counts_once_with_its_highest_revision() -> None:
    recount = recounted(reward("x", 1, 0), reward("x", 3, 20), reward("x", 2, 10), reward("y", 1, 5))
    assert recount.totals() == {("s", "a"): Total(decisions=2, reward_sum=20 + 5)}


def test_a_repeated_record_changes_nothing() -> None:
    once, twice = recounted(reward("x", 1, 7)), recounted(reward("x", 1, 7), reward("x", 1, 7))
    assert once.totals() == twice.totals()


def test_actions_are_settled_when_a_record_says_so() -> None:
    recount = recounted(reward("x", 1, 0), reward("y", 1, 0), reward("x", 2, 0, is_settled=True))
    assert recount.settled == {"x"}
    assert recount.actions == 2


def test_an_outcome_is_credited_where_the_ledger_first_names_it() -> None:
    credit = {"outcome_id": "o"}
    recount = recounted(reward("x", 1, 0), reward("x", 2, 9, outcomes=[credit]), reward("x", 3, 9, outcomes=[credit]))
    assert recount.credited == {"o": (0, 1)}


def test_other_policies_are_passed_over() -> None:
    assert recounted(reward("x", 1, 1, policy="other")).totals() == {}


def test_a_snapshots_totals_are_those_of_its_arms_that_have_decisions() -> None:
    segments = [{"segment": "s", "arms": ["a", "b"], "counts": [3, 0], "reward_sums": [12, 0]}]
    assert snapshot_totals({"segments": segments}) == {("s", "a"): Total(3, 12)}


def test_the_first_difference_is_named_with_both_numbers() -> None:
    said = first_difference({("s", "a"): Total(3, 12), ("s", "b"): Total(1, 0)}, {("s", "a"): Total(3, 12)})
    assert said == ("segment s, arm b: expected 1 decisions with Σr = 0 grid units, found 0 with 0")


def test_equal_counts_have_no_difference() -> None:
    assert first_difference({("s", "a"): Total(3, 12)}, {("s", "a"): Total(3, 12)}) is None
