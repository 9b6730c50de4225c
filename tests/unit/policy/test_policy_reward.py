from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import pytest

from pipeline.policy.reward import Credit, OutcomeRule, RewardRules

ONE = 2**15  # the integer for a reward of 1 where the bounds are 0 and 1


def rules(combination="max", cap=None, low=0.0, high=1.0):
    return RewardRules(
        low,
        high,
        (
            OutcomeRule("click", 0.25, 5_000),
            OutcomeRule("purchase", 0.125, 10_000, times_value=True, value_low=0.0, value_high=500.0),
            OutcomeRule("refund", -1.0, 10_000),
        ),
        combination,
        cap,
    )


CLICK = Credit("o-click", "click", 1.0, 1_000)
PURCHASE = Credit("o-purchase", "purchase", 4.0, 2_000)  # worth 0.125 * 4 = 0.5
REFUND = Credit("o-refund", "refund", 1.0, 3_000)


@pytest.mark.parametrize(
    ("combination", "credited", "reward"),
    [
        ("first", [CLICK, PURCHASE], 0.25),
        ("last", [CLICK, PURCHASE], 0.5),
        ("max", [CLICK, PURCHASE], 0.5),
        ("sum", [CLICK, PURCHASE], 0.75),
        ("sum", [CLICK, PURCHASE, PURCHASE._replace(outcome_id="o-2")], 1.0),  # 1.25, clamped to high
        ("last", [CLICK, REFUND], 0.0),  # -1, clamped to low
        ("max", [REFUND], 0.0),
        ("first", [], 0.0),
        ("sum", [], 0.0),
    ],
)
def test_outcomes_combine_by_the_rule_and_stay_in_bounds(combination, credited, reward):
    for order in permutations(credited):
        assert rules(combination).combine(order) == reward * ONE


def test_negative_rewards_are_kept_where_the_bounds_allow_them():
    # max(|-2|, |1|) * 2^14 = 2^15.
    assert rules("sum", low=-2.0).combine([CLICK, REFUND]) == -0.75 * 2**14


def test_a_capped_sum_stops_at_its_cap():
    assert rules("sum", cap=0.625).combine([CLICK, PURCHASE]) == 0.625 * ONE


def test_without_outcomes_the_reward_is_what_is_nearest_to_nothing():
    # Bounds 0.5 to 1: zero is clamped up to 0.5.
    assert rules(low=0.5).combine([]) == 0.5 * ONE


def test_outcomes_of_the_same_time_are_ordered_by_their_id():
    click = CLICK._replace(outcome_id="b")
    purchase = PURCHASE._replace(outcome_id="a", occurred_at_ms=click.occurred_at_ms)
    for order in permutations([click, purchase]):
        assert rules("first").combine(order) == 0.5 * ONE
        assert rules("last").combine(order) == 0.25 * ONE


def test_a_sum_does_not_depend_on_the_order_of_its_terms():
    # float64 numbers near 1e12 are 2^-13 apart, so 1e12 + 3e-5 - 1e12 is 0 when added in that order.
    worths = {"huge": 1e12, "small": 3e-5, "minus": -1e12}
    terms = RewardRules(0.0, 1.0, tuple(OutcomeRule(kind, worth, 1_000) for kind, worth in worths.items()), "sum")
    credited = [Credit(kind, kind, 1.0, 0) for kind in worths]
    # 3e-5 * 2^15 = 0.98, which rounds to 1.
    assert {terms.combine(order) for order in permutations(credited)} == {1}


@pytest.mark.parametrize(("steps", "rounded"), [(0.5, 0), (1.5, 2), (2.5, 2), (3.5, 4)])
def test_a_half_goes_to_the_even_neighbour(steps, rounded):
    halves = RewardRules(0.0, 1.0, (OutcomeRule("half", steps / ONE, 1_000),), "sum")
    assert halves.combine([Credit("a", "half", 1.0, 1)]) == rounded


def test_a_sum_is_rounded_once_at_the_end():
    # Each term is 0.4 steps, which alone would round to 0; together 1.2 steps round to 1.
    small = RewardRules(0.0, 1.0, (OutcomeRule("small", 0.4 / ONE, 1_000),), "sum")
    assert small.combine([Credit(str(i), "small", 1.0, i) for i in range(3)]) == 1


@pytest.mark.parametrize(
    ("kind", "value", "reason"),
    [
        ("like", 1.0, "unknown-outcome-kind"),
        ("click", float("nan"), "value-not-finite"),
        ("purchase", float("inf"), "value-not-finite"),
        ("purchase", 500.01, "value-out-of-bounds"),
        ("purchase", -0.01, "value-out-of-bounds"),
    ],
)
def test_an_outcome_that_cannot_be_credited_is_refused_with_the_reason(kind, value, reason):
    refusal = rules().refusal(kind, value)
    assert refusal is not None
    assert refusal.reason == reason


@pytest.mark.parametrize(("kind", "value"), [("click", -1e9), ("purchase", 0.0), ("purchase", 500.0)])
def test_an_outcome_within_its_bounds_is_not_refused(kind, value):
    assert rules().refusal(kind, value) is None


def test_each_kind_has_its_own_window_and_the_longest_is_the_decisions():
    assert rules().window_ms_for("click") == 5_000
    assert rules().window_ms == 10_000


def test_kinds_that_are_counted_apart_have_amounts_and_no_reward_before_it_is_asked_for():
    apart = rules("weighted", low=-1.0, high=63.0)
    # 512 is the power of two above 500: amounts of a purchase are in steps of 2^-6.
    assert [rule.amount_exponent for rule in apart.outcomes] == [0, 6, 0]
    twice = [CLICK, CLICK._replace(outcome_id="again"), PURCHASE, PURCHASE._replace(outcome_id="o-2", value=3.1)]
    for order in permutations(twice):
        # A click came or not; 4 + 3.1 is 454.4 steps, rounded towards 0.
        assert apart.amounts(order) == [1, 454, 0]
        assert apart.combine(order) == 0
        assert apart.weighted(order) == 0.25 + 0.125 * 454 / 64
    # No more counts than the largest value accepted.
    assert apart.amounts([PURCHASE._replace(outcome_id=str(n), value=400.0) for n in range(2)]) == [0, 500 * 64, 0]
    assert apart.amounts([]) == [0, 0, 0]


def test_worths_of_kinds_that_are_counted_apart_are_on_a_grid_towards_zero_and_within_their_bounds():
    kinds = tuple(OutcomeRule(kind, worth, 1_000) for kind, worth in {"a": 0.8, "b": 0.2, "c": -0.1}.items())
    apart = RewardRules(-0.1, 1.0, kinds, "weighted")
    # As float64 numbers 0.8 + 0.2 is more than 1; on the grid of 2^-30 steps of 2^-15 it is not.
    assert apart.weights.bits == 30
    assert apart.weights.steps == [int(worth * 2**45) for worth in (0.8, 0.2, -0.1)]
    low, high = apart.reach
    assert -0.1 <= low < -0.0999
    assert 0.9999 < high <= 1


def test_statistics_of_kinds_that_are_counted_apart_know_no_worth():
    apart = rules("weighted", high=63.0)
    halved = tuple(replace(rule, worth=rule.worth / 2) for rule in apart.outcomes)
    cheaper = RewardRules(0.0, 63.0, halved, "weighted")
    assert apart.to_plain() != cheaper.to_plain()
    assert apart.counted_parts() == cheaper.counted_parts()
    assert rules().counted_parts() == rules().to_plain()
