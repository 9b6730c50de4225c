from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import pytest

from pipeline.policy.assignment import Assignment
from pipeline.policy.canonical import to_canonical_json
from pipeline.policy.changes import check_change
from pipeline.policy.parsing.parse import load_canonical_json, parse_policy
from tests.samples import linear_policy, plain_policy
from tests.unit.policy.test_policy_parse import faults_of

DAY_MS = 86_400_000
WEEK = {"sticky": "subject", "epoch": "7d", "constant": ["visits"]}


def with_assignment(policy: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    return (policy or plain_policy()) | {"assignment": WEEK | changes}


def test_a_policy_without_an_assignment_has_the_text_that_it_always_had():
    assert "assignment" not in parse_policy(plain_policy(), "test").to_plain()


@pytest.mark.parametrize(
    ("epoch", "read"), [("7d", 7 * DAY_MS), ("for ever", "for ever"), ("snapshot", "snapshot"), ("1m", 60_000)]
)
def test_an_assignment_goes_through_its_text_and_back(epoch, read):
    definition = parse_policy(with_assignment(epoch=epoch, salt="2026", anonymous="chance"), "test")
    assert definition.assignment == Assignment(read, ("visits",), "chance", "2026")
    assert definition.assignment.epoch_text == epoch
    assert load_canonical_json(to_canonical_json(definition), "again") == definition


def test_who_names_nobody_is_refused_unless_the_policy_says_otherwise():
    definition = parse_policy(with_assignment(), "test")
    assert definition.assignment is not None
    assert definition.assignment.anonymous == "refuse"
    assert definition.to_plain()["assignment"] == WEEK


def test_an_assignment_may_come_change_and_go_within_a_generation():
    """It chooses among what is learned, and changes nothing of it."""
    steps = [parse_policy(one, "test") for one in (plain_policy(), with_assignment(), with_assignment(epoch="1d"))]
    for old, new in pairwise([*steps, steps[0]]):
        check_change(old, new)
        assert old.statistics_hash == new.statistics_hash
        assert old.definition_hash != new.definition_hash


@pytest.mark.parametrize("epoch", ["0s", "0d", "30s", "367d", "always", 7, 0, True, None])
def test_an_epoch_that_is_none_is_refused_with_what_is_one(epoch):
    (fault,) = faults_of(with_assignment(epoch=epoch))
    assert fault.startswith("assignment.epoch: ")
    assert 'a duration from "1m" to "366d"' in fault


def test_an_epoch_is_not_left_to_be_guessed():
    (fault,) = faults_of(plain_policy(assignment={"sticky": "subject", "constant": ["visits"]}))
    assert fault.startswith('assignment.epoch: missing; write "snapshot", "for ever", or a duration')


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"sticky": "account"}, "assignment.sticky"),
        ({"sticky": True}, "assignment.sticky"),
        ({"anonymous": "guess"}, "assignment.anonymous"),
        ({"constant": ["a b"]}, "assignment.constant[0]"),
        ({"constant": "visits"}, "assignment.constant"),
        ({"salt": ""}, "assignment.salt"),
        ({"epochs": "7d"}, "assignment.epochs"),
    ],
)
def test_what_an_assignment_can_t_be_is_refused_at_its_place(changes, place):
    (fault,) = faults_of(with_assignment(**changes))
    assert fault.startswith(f"{place}: ")


def test_whatever_people_are_told_apart_by_is_sent_as_the_subject():
    (fault,) = faults_of(with_assignment(sticky="account"))
    assert '"account" is not "subject": whatever people are told apart by is sent as the request\'s subject' in fault


def guarded(**rails: Any) -> dict[str, Any]:
    return plain_policy(guardrails=rails)


@pytest.mark.parametrize(
    ("policy", "says"),
    [
        (with_assignment(constant=[]), "constant: the answer depends on visits, which may change"),
        (with_assignment(linear_policy()), "constant: the answer depends on x, "),
        (with_assignment(guarded(frequency={"shows": 3, "window": "1d"})), "frequency takes an arm"),
        (with_assignment(guarded(stale_after="1d")), "epoch: .*stale_after ends before it does"),
        (with_assignment(guarded(stale_after="30d"), epoch="for ever"), "epoch: .*stale_after ends before it does"),
        (
            with_assignment(guarded(caps=[{"arm": "a", "share": 0.5, "window": "1d"}])),
            "caps and guardrails.budget move",
        ),
        (
            with_assignment(guarded(budget={"amount": 5.0, "window": "1d", "costs": {"a": 1.0}})),
            "caps and guardrails.budget move",
        ),
        (with_assignment(plain_policy(publish={"interval": "1d"}), epoch="1h"), 'epoch: "1h" is shorter than publish'),
    ],
)
def test_what_would_give_a_person_another_answer_is_refused(policy, says):
    faults = faults_of(policy)
    assert any(fault.startswith("assignment") and re.search(says, fault) for fault in faults), faults


def test_what_a_clock_shows_can_t_be_constant():
    clock = {"name": "hour", "kind": "cyclic", "period": 24.0, "clock": "hour", "time_zone": "Europe/Berlin"}
    policy = with_assignment(linear_policy(context=[clock]), constant=["visits", "hour"])
    assert [fault for fault in faults_of(policy) if "hour, which a clock shows" in fault]


def test_arms_that_come_with_a_request_can_t_be_kept():
    policy = linear_policy(candidates={"features": ["price"]}, algorithm={"name": "hybrid_thompson"})
    policy["algorithm"] = {"name": "hybrid_thompson"}
    assert [
        fault for fault in faults_of(with_assignment(policy, constant=["visits", "x", "y"])) if "[candidates]" in fault
    ]


def test_stale_after_may_be_longer_than_an_epoch_or_of_each_snapshot():
    assert parse_policy(with_assignment(guarded(stale_after="8d")), "test")
    assert parse_policy(with_assignment(guarded(stale_after="1h"), epoch="snapshot"), "test")


def test_an_epoch_ends_with_its_time_with_a_snapshot_or_never():
    week, snapshot, for_ever = (Assignment(epoch) for epoch in (7 * DAY_MS, "snapshot", "for ever"))
    times = [(0, 7 * DAY_MS - 1), (0, 7 * DAY_MS), (7 * DAY_MS, 0)]
    assert [week.is_over(*one) for one in times] == [False, True, False]
    assert [snapshot.is_over(*one) for one in times] == [True] * 3
    assert [for_ever.is_over(*one) for one in times] == [False] * 3
    # Another epoch of the same length draws by other numbers, and for ever by the same.
    assert [week.epoch_of(9, time) for time in (7 * DAY_MS - 1, 7 * DAY_MS)] == ["0", "1"]
    assert for_ever.epoch_of(1, 0) == for_ever.epoch_of(2, 99 * DAY_MS)
