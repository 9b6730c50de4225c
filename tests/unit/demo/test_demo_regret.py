from __future__ import annotations

import numpy as np
import pytest

from pipeline.demo.regret import ab_test_choices, cumulative_regret, last_third_shares, uniform_choices

MEANS = np.array([[0.5, 0.2], [0.1, 0.4]])


def test_regret_adds_up_what_each_choice_falls_short_of_its_segments_best_arm() -> None:
    segments, choices = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
    # Gaps: 0, 0.5 - 0.2 = 0.3, 0.4 - 0.1 = 0.3, 0.
    assert cumulative_regret(choices, segments, MEANS) == pytest.approx([0.0, 0.3, 0.6, 0.6])


def test_who_always_knows_the_best_arm_has_no_regret() -> None:
    segments = np.array([0, 1, 0, 1])
    assert cumulative_regret(MEANS.argmax(axis=1)[segments], segments, MEANS)[-1] == 0.0


def test_chance_chooses_every_arm_alike() -> None:
    choices = uniform_choices(np.zeros(30_000, np.int64), 3, np.random.default_rng(2))
    shares = np.bincount(choices, minlength=3) / 30_000
    # Standard error √(1/3 · 2/3 / 30,000) = 0.0027.
    assert shares == pytest.approx([1 / 3] * 3, abs=4 * 0.0027)


def test_an_ab_test_shows_its_winner_to_all_after_the_first_fifth_of_each_segment() -> None:
    segments = np.tile([0, 1], 100)
    # In segment 0 arm 1 always pays, in segment 1 arm 0 does.
    rewards = np.where(segments[:, None] == 0, [0.0, 1.0], [1.0, 0.0])
    choices = ab_test_choices(segments, rewards, np.random.default_rng(1))
    for segment, winner in ((0, 1), (1, 0)):
        chosen = choices[segments == segment]
        assert set(chosen[:20]) == {0, 1}
        assert (chosen[20:] == winner).all()


def test_an_ab_test_sees_only_the_rewards_of_the_arms_it_showed() -> None:
    segments = np.zeros(50, np.int64)
    rewards = np.tile([0.0, 1.0], (50, 1))
    seen = ab_test_choices(segments, rewards, np.random.default_rng(4))
    tested = np.arange(50) < 10
    hidden = rewards.copy()
    hidden[np.flatnonzero(tested), 1 - seen[tested]] = -100.0
    assert (ab_test_choices(segments, hidden, np.random.default_rng(4)) == seen).all()


def test_shares_are_those_of_the_last_third_of_each_segment() -> None:
    segments = np.array([0, 0, 0, 0, 0, 0, 1, 1, 1])
    choices = np.array([0, 0, 0, 0, 1, 1, 1, 1, 0])
    # Segment 0: the last 2 of 6 are arm 1; segment 1: the last 1 of 3 is arm 0.
    assert last_third_shares(choices, segments, 2, 2).tolist() == [[0.0, 1.0], [1.0, 0.0]]
