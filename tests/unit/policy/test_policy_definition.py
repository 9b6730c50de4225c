from __future__ import annotations

import pytest

from pipeline.policy.parsing.parse import parse_policy

MINUTE_MS = 60_000
DAY_MS = 86_400_000


def test_a_decision_settles_after_the_longest_window_and_is_held_for_grace(full):
    policy = parse_policy(full, "test.toml")

    # decided 5        close = 5 + 1d        expires = close + 10m
    #    ├── click 30m ──┤      │                  │
    #    ├── purchase 1d ───────┤── grace 10m ─────┤
    assert (policy.window_ms, policy.grace_ms) == (DAY_MS, 10 * MINUTE_MS)
    assert policy.close_for(5) == 5 + DAY_MS
    assert policy.expires_for(5) == 5 + DAY_MS + 10 * MINUTE_MS


def test_a_retired_arm_is_known_but_not_active(full):
    policy = parse_policy(full, "test.toml")
    assert policy.arm_names == ("collab_filter", "hybrid", "bestsellers")
    assert policy.active_arms == ("collab_filter", "hybrid")


def test_dimension_and_reward_exponent_come_of_features_and_bounds(full):
    policy = parse_policy(full, "test.toml")
    assert policy.dimension == 1 + 1 + 2 + 2  # intercept, age, two devices, sine and cosine
    assert policy.reward_exponent == 6  # 500 * 2^6 = 32,000 <= 2^15 < 64,000


def change_window(raw):
    raw["reward"]["outcomes"][0]["window"] = "2d"


def change_worth(raw):
    raw["reward"]["outcomes"][1]["worth"] = 2


def change_feature(raw):
    raw["context"][0]["high"] = 120


def change_settle(raw):
    raw["attribution"]["settle"] = "optimistic"


def change_grace(raw):
    raw["attribution"]["grace"] = "11m"


def change_bucket(raw):
    raw["statistics"]["bucket"] = "6h"


def change_floor(raw):
    raw["exploration"]["floor"] = 0.0


def change_segments(raw):
    raw["segments"]["default"] = "rest"


def change_algorithm(raw):
    raw["algorithm"] = {"name": "lin_ucb"}


def change_arms(raw):
    raw["arms"].append({"name": "fourth"})


def change_interval(raw):
    raw["publish"]["interval"] = "2s"


@pytest.mark.parametrize(
    "change", [change_window, change_worth, change_feature, change_settle, change_grace, change_bucket]
)
def test_what_statistics_are_made_of_changes_their_hash(full, change):
    before = parse_policy(full, "a")
    change(full)
    after = parse_policy(full, "b")
    assert after.statistics_hash != before.statistics_hash
    assert after.definition_hash != before.definition_hash


def change_forgetting(raw):
    raw["forgetting"] = {"half_life": "7d"}


def change_prior(raw):
    raw["arms"][0]["prior"] = {"mean": 1, "weight": 1}


@pytest.mark.parametrize(
    "change",
    [
        change_floor,
        change_segments,
        change_algorithm,
        change_arms,
        change_interval,
        change_forgetting,
        change_prior,
    ],
)
def test_what_only_reads_statistics_leaves_their_hash(full, change):
    before = parse_policy(full, "a")
    change(full)
    after = parse_policy(full, "b")
    assert after.statistics_hash == before.statistics_hash
    assert after.definition_hash != before.definition_hash


def test_equal_definitions_are_equal_and_hash_alike(full):
    one, two = parse_policy(full, "a"), parse_policy(full, "b")
    assert one == two
    assert hash(one) == hash(two)
