from __future__ import annotations

from hashlib import blake2b

import numpy as np
import pytest

from pipeline.policy.guardrails import EligibilityRule, FrequencyCap
from pipeline.policy.segments import Condition
from pipeline.serve.guardrails.assignment import is_within, position
from pipeline.serve.guardrails.budget import afford, affordable
from pipeline.serve.guardrails.cap import cap, ceiling
from pipeline.serve.guardrails.diversity import spread
from pipeline.serve.guardrails.eligibility import admitted
from pipeline.serve.guardrails.frequency import ARMS_KEPT, SubjectMemory

# Diversity.


def test_a_certain_arm_is_mixed_with_the_others_to_two_effective_ones():
    # K = 4, Σw² = 1: t² = (1/2 - 1/4) / (1 - 1/4) = 1/3; w' = (1 - t)/4 + t w with t = 0.57735.
    mixed = spread(np.array([1.0, 0.0, 0.0, 0.0]), 2.0)
    np.testing.assert_allclose(mixed, [0.683013, 0.105662, 0.105662, 0.105662], atol=1e-6)
    assert 1.0 / (mixed @ mixed) == pytest.approx(2.0)


def test_more_effective_arms_than_there_are_is_uniform():
    np.testing.assert_allclose(spread(np.array([0.9, 0.1]), 3.0), [0.5, 0.5])


# Budget.


def test_what_costly_arms_lose_goes_to_the_free_ones_in_proportion():
    weights, floors = np.array([0.5, 0.3, 0.2]), np.array([0.1, 0.1, 0.1])
    left, floors_left = afford(weights, floors, np.array([2.0, 0.0, 0.0]), 0.5)
    # 0.25 is freed, of which the others get 3/5 and 2/5.
    np.testing.assert_allclose(left, [0.25, 0.45, 0.3])
    np.testing.assert_allclose(floors_left, [0.05, 0.1, 0.1])


def test_where_every_arm_on_offer_costs_the_cheapest_is_shown():
    left, _ = afford(np.array([1.0, 0.0, 0.0]), np.zeros(3), np.array([3.0, 1.0, 2.0]), 0.0)
    assert left.tolist() == [0.0, 1.0, 0.0]


def test_a_budget_runs_out_softly():
    # Of 50 the last 10 are soft: at 43 spent, 7 of the 10 are left.
    assert affordable(50.0, 0.2, 43.0) == pytest.approx(0.7)
    assert affordable(50.0, 0.2, 39.9) == 1.0


# Caps.


def test_what_an_arm_loses_goes_to_the_others_up_to_their_ceilings():
    # 0.5 is lost to shares of 0.3 and 0.1; the second would get 0.3 + 0.375 but may have 0.5, the third gets the rest.
    np.testing.assert_allclose(cap(np.array([0.6, 0.3, 0.1]), np.array([0.1, 0.5, 1.0])), [0.1, 0.5, 0.4])


def test_an_arm_at_its_cap_is_not_drawn_and_one_far_below_it_is_free():
    ceilings = [ceiling(0.3, shown, 1_000, is_reported=True) for shown in (0, 270, 285, 300, 900)]
    # (0.3 - 0.27) / 0.1 = 0.3, (0.3 - 0.285) / 0.1 = 0.15
    assert ceilings == pytest.approx([1.0, 0.3, 0.15, 0.0, 0.0])


def test_what_is_not_reported_caps_every_decision_by_itself():
    assert ceiling(0.3, 0, 1_000, is_reported=False) == 0.3
    assert ceiling(0.3, 0, 0, is_reported=True) == 0.3


# Eligibility.


def test_an_arm_is_shown_only_where_every_rule_about_it_admits_it():
    adult, abroad = Condition("age", "at_least", 18.0), Condition("country", "equals", "SA")
    rules = [EligibilityRule(("beer", "wine"), only_when=(adult,)), EligibilityRule(("beer",), never_when=(abroad,))]
    arms = ("beer", "milk", "wine")
    assert admitted(rules, {"age": 30}, arms) == arms
    assert admitted(rules, {"age": 30, "country": "SA"}, arms) == ("milk", "wine")
    assert admitted(rules, {"age": 7}, arms) == ("milk",)
    assert admitted(rules, {}, arms) == ("milk",)
    assert admitted(rules, {}, ("beer",)) == ()


# Assignment.


def test_a_share_that_grows_keeps_whom_it_has():
    subjects = [f"s{i}" for i in range(5_000)]
    before: set[str] = set()
    for share in (0.05, 0.2, 0.5, 1.0):
        now = {one for one in subjects if is_within(share, one, "rollout", "next", "")}
        assert before <= now
        # Five standard errors of a share of 5,000: 5 · sqrt(0.25 / 5000) = 0.036.
        assert len(now) / 5_000 == pytest.approx(share, abs=0.036)
        before = now
    assert len(before) == 5_000


def test_shares_of_other_purposes_policies_and_salts_are_unrelated():
    subjects = [f"s{i}" for i in range(5_000)]
    first = np.array([position(one, "holdout", "homepage", "") for one in subjects])
    for other in (("rollout", "homepage", ""), ("holdout", "search", ""), ("holdout", "homepage", "2")):
        second = np.array([position(one, *other) for one in subjects])
        # The correlation of 5,000 unrelated pairs has a standard error of 0.014.
        assert abs(np.corrcoef(first, second)[0, 1]) < 0.07


def test_an_assignment_never_changes_between_releases():
    # By the module's words: BLAKE2b of "ada" keyed by BLAKE2b("holdout\\0homepage\\0"), its upper 53 bits.
    key = blake2b(b"holdout\0homepage\0", digest_size=32).digest()
    bits = int.from_bytes(blake2b(b"ada", key=key, digest_size=8).digest(), "big") >> 11
    assert position("ada", "holdout", "homepage", "") == bits / 2**53 == 0.7610805584971706


# Frequency.

CAP = FrequencyCap(shows=2, window_ms=1_000)


def test_an_arm_is_worn_after_so_many_shows_within_the_window():
    memory = SubjectMemory()
    memory.note("p", "ada", "a", CAP, 0)
    assert list(memory.worn("p", "ada", CAP, 1)) == []
    memory.note("p", "ada", "a", CAP, 600)
    #  shown at     0         600
    #  window of 1,000 from 999 reaches back past 0; from 1,000 it does not
    assert list(memory.worn("p", "ada", CAP, 999)) == ["a"]
    assert list(memory.worn("p", "ada", CAP, 1_000)) == []
    memory.note("p", "ada", "a", CAP, 1_000)
    assert list(memory.worn("p", "ada", CAP, 1_500)) == ["a"]
    assert list(memory.worn("p", "bob", CAP, 1_500)) == list(memory.worn("q", "ada", CAP, 1_500)) == []


def test_a_cap_that_is_changed_goes_by_what_was_seen():
    memory = SubjectMemory()
    for now_ms in (0, 1, 2):
        memory.note("p", "ada", "a", FrequencyCap(3, 1_000), now_ms)
    assert list(memory.worn("p", "ada", FrequencyCap(2, 1_000), 3)) == ["a"]
    memory.note("p", "ada", "a", FrequencyCap(1, 1_000), 4)
    assert list(memory.worn("p", "ada", FrequencyCap(1, 1_000), 5)) == ["a"]


def test_memory_keeps_the_subjects_and_arms_seen_last():
    memory = SubjectMemory(capacity=3)
    once = FrequencyCap(1, 1_000)
    for subject in ("a", "b", "c", "a", "d"):
        memory.note("p", subject, "x", once, 0)
    assert len(memory) == 3
    assert [bool(memory.worn("p", subject, once, 1)) for subject in "abcd"] == [True, False, True, True]
    for arm in range(100):
        memory.note("p", "a", f"arm{arm}", once, 0)
    assert list(memory.worn("p", "a", once, 1)) == [f"arm{arm}" for arm in range(100 - ARMS_KEPT, 100)]
