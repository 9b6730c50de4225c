from __future__ import annotations

import numpy as np
import pytest

from pipeline.demo.simulated import homepage_policy
from pipeline.demo.visitors import (
    ARMS,
    CLICK,
    CLICK_DELAY_MS,
    PURCHASE,
    PURCHASE_DELAY_MS,
    RATES,
    SEGMENTS,
    Visitors,
    simulate_visitors,
    true_means,
)

HOMEPAGE = homepage_policy()


def one_visitor(*, clicks: list[bool], purchases: list[bool]) -> Visitors:
    return Visitors(
        segments=np.array([0]),
        visits=np.array([1]),
        clicks=np.array([clicks]),
        purchases=np.array([purchases]),
        click_delays_ms=np.array([300]),
        purchase_delays_ms=np.array([700]),
    )


def test_the_same_seed_brings_the_same_visitors_and_another_one_others() -> None:
    one, again, other = simulate_visitors(200, 7), simulate_visitors(200, 7), simulate_visitors(200, 8)
    assert (one.clicks == again.clicks).all()
    assert (one.segments == again.segments).all()
    assert (one.clicks != other.clicks).any()


def test_the_policys_rules_put_each_visitor_into_the_segment_it_was_drawn_from() -> None:
    visitors = simulate_visitors(500, 1)
    found = [HOMEPAGE.segments.segment_for(visitors.context(visitor)) for visitor in range(500)]
    assert found == [SEGMENTS[segment] for segment in visitors.segments]
    assert set(found) == set(SEGMENTS)


def test_the_arms_and_outcome_kinds_are_those_of_the_policy() -> None:
    assert set(HOMEPAGE.active_arms) == set(ARMS)
    assert {rule.kind for rule in HOMEPAGE.reward.outcomes} == {CLICK, PURCHASE}


def test_nobody_buys_without_a_click() -> None:
    visitors = simulate_visitors(2_000, 3)
    assert not (visitors.purchases & ~visitors.clicks).any()


def test_a_visitor_clicks_and_then_buys_only_under_the_arms_it_would() -> None:
    visitor = one_visitor(clicks=[False, True, True], purchases=[False, False, True])
    assert visitor.acts(0, 0) == []
    assert visitor.acts(0, 1) == [(CLICK, 300)]
    # A purchase comes 700 ms after its click.
    assert visitor.acts(0, 2) == [(CLICK, 300), (PURCHASE, 1_000)]


def test_a_visitor_is_worth_its_best_outcome() -> None:
    visitor = one_visitor(clicks=[False, True, True], purchases=[False, False, True])
    # The policy: 0.2 for a click, 1 for a purchase, the larger counts.
    assert visitor.rewards(HOMEPAGE.reward).tolist() == [[0.0, 0.2, 1.0]]


def test_every_outcome_comes_within_the_windows_of_the_policy() -> None:
    longest_click_ms = CLICK_DELAY_MS[1]
    assert longest_click_ms < HOMEPAGE.reward.window_ms_for(CLICK)
    assert longest_click_ms + PURCHASE_DELAY_MS[1] < HOMEPAGE.reward.window_ms_for(PURCHASE)


def test_each_segment_has_another_best_arm_by_a_wide_margin() -> None:
    means = true_means(HOMEPAGE.reward)
    # Best: 0.70 (0.60 · 1 + 0.40 · 0.2) = 0.476; second: 0.45 (0.25 + 0.75 · 0.2) = 0.18; third: 0.35 (0.2 + 0.16).
    assert np.sort(means, axis=1)[0] == pytest.approx([0.126, 0.18, 0.476])
    assert sorted(means.argmax(axis=1)) == [0, 1, 2]


def test_visitors_do_what_the_rates_say() -> None:
    count = 60_000
    visitors = simulate_visitors(count, 5)
    for segment in range(len(SEGMENTS)):
        members = visitors.segments == segment
        shares = visitors.clicks[members].mean(axis=0)
        # Four standard errors of a share, at most 0.5 / √n each.
        assert shares == pytest.approx(RATES[segment, :, 0], abs=4 * 0.5 / np.sqrt(members.sum()))
