"""How many decisions of people who come back are worth one."""

from __future__ import annotations

import numpy as np
import orjson
import pytest
from scipy.stats import t

from pipeline.codec.wire import decode_event
from pipeline.evaluate.design_effect import Seen, design_effect, seen_by_segment
from pipeline.evaluate.ledger import Entry
from tests.samples import plain_decision


def seen(arm: list[int], unit: list[int], reward: list[float]) -> Seen:
    return Seen(np.array(arm), np.array(unit), np.array(reward), np.zeros(len(arm), np.int64), 0)


def effect(one: Seen) -> float:
    return design_effect(one, np.zeros(len(one), np.int64), {0: 1.0})


def test_people_who_came_once_are_as_many_as_their_decisions():
    assert effect(seen([0, 0, 1, 1], [0, 1, 2, 3], [1.0, 0.0, 1.0, 0.0])) == 1.0


def test_the_variance_of_a_difference_by_hand():
    # Eight people, five times each, who always do the same: u = ±.5/20, by person five times that.
    unit = np.repeat(np.arange(8), 5)
    one = seen((unit >= 4).astype(int).tolist(), unit.tolist(), np.isin(unit, [0, 1, 4, 5]).astype(float).tolist())
    quantile = t.ppf(0.975, 7) / t.ppf(0.975, np.inf)
    expected = (8 + 1) * 25 / (40 + 1) * 8 / 7 * quantile**2
    assert effect(one) == pytest.approx(expected)


def test_what_all_arms_owe_to_the_same_people_is_no_difference_of_arms():
    # Half of a hundred people always pay, whatever they are shown, and everybody is shown both.
    unit = np.repeat(np.arange(100), 20)
    arm = np.tile([0, 1], 1_000)
    assert effect(seen(arm.tolist(), unit.tolist(), (unit < 50).astype(float).tolist())) == 1.0


def test_who_likes_one_arm_and_not_the_other_counts_against_both():
    unit = np.repeat(np.arange(100), 20)
    arm = np.tile([0, 1], 1_000)
    likes = ((unit < 50) == (arm == 0)).astype(float)
    # By person ten decisions of each arm, all of one sign: 20² of each of 100, against 2,000 alone.
    assert effect(seen(arm.tolist(), unit.tolist(), likes.tolist())) == pytest.approx(20.0, rel=0.1)


def test_one_person_is_one_decision():
    assert effect(seen([0, 0, 1, 1], [0, 0, 0, 0], [1.0, 0.0, 1.0, 0.0])) == 4.0


def test_stretches_of_time_are_compared_with_themselves():
    # Everybody comes on one day only, and all of a day do the same: nothing is left that varies by person.
    day = np.repeat([0, 1], 40)
    unit = np.repeat(np.arange(8), 10)
    one = seen((unit % 2).tolist(), unit.tolist(), day.astype(float).tolist())
    assert effect(one) > 5.0
    assert design_effect(one, day, {0: 0.5, 1: 0.5}) == 1.0


def test_what_was_shown_before_all_stretches_makes_those_within_no_more_certain():
    # Eight people who always do the same, and before them two hundred who came once.
    unit, arm = np.repeat(np.arange(8), 5), np.repeat([0, 1], 20)
    within = seen(arm.tolist(), unit.tolist(), np.isin(unit, [0, 1, 4, 5]).astype(float).tolist())
    before = seen([0, 1] * 100, list(range(8, 208)), [0.0] * 200)
    both = Seen(*(np.concatenate(pair) for pair in zip(before[:4], within[:4], strict=True)), 0)
    stratum = np.repeat([-1, 0], [200, 40])
    assert design_effect(both, stratum, {0: 1.0}) == effect(within) > 5.0


def test_decisions_that_nothing_learns_from_and_arms_that_are_no_choice_are_not_looked_at():
    def entry(arm: str, **others: object) -> Entry:
        decision = decode_event(orjson.dumps(plain_decision(arm=arm, **others)), "decision")
        return Entry(1, True, 0.0, "other", decision)  # noqa: FBT003

    entries = [entry("a", subject_hash="s"), entry("b"), entry("c"), entry("a", is_analysis=True)]
    found = seen_by_segment(entries, ["a", "b"])["other"]
    assert (len(found), found.subjects, found.without_subject, found.by) == (2, 2, 1, "subject, else decision")
