from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import orjson

from pipeline.codec import avro
from pipeline.learn.memory import RowKey
from pipeline.models.sums.statistics import Statistics, width
from pipeline.publish.partials import Mark
from pipeline.publish.snapshot import build_snapshot
from pipeline.replay.proof.diff import (
    ABSENT,
    ON_OFFER,
    RETIRED,
    ArmChange,
    Count,
    CountChange,
    DefinitionChange,
    OffsetMove,
    definition_changes,
    diff_snapshots,
)
from tests.samples import CLICK, LIKE, define, linear_policy, plain_policy

# Rewards within 0 to 1 are on a grid of 2^-15.
ONE = 2**15


def snapshot(
    counts: dict[tuple[str, str], tuple[int, int]], offsets: dict[int, int] | None = None, **policy: Any
) -> dict[str, Any]:
    """A snapshot that counts n decisions with a reward sum in grid units, by segment and arm."""
    definition = define(plain_policy() | policy)
    rows = []
    for (segment, arm), (n, total) in counts.items():
        sums = np.zeros(width(definition.dimension), np.int64)
        sums[:2] = n, total
        key = RowKey("homepage", definition.generation, segment, arm, 0)
        rows.append((key, Statistics(definition.dimension, sums)))
    marks = {partition: Mark(offset, 0) for partition, offset in (offsets or {}).items()}
    return avro.decode_as("snapshot", build_snapshot(definition, rows, marks, 1, ""))


def test_a_snapshot_does_not_differ_from_itself():
    one = snapshot({("new", "a"): (4, ONE)}, {0: 7})
    assert diff_snapshots(one, one) == (True, [], [], [], [], [])


def test_arms_that_counted_more_are_named_and_no_others():
    found = diff_snapshots(
        snapshot({("new", "a"): (4, ONE), ("new", "b"): (1, 0)}),
        snapshot({("new", "a"): (8, 3 * ONE), ("new", "b"): (1, 0)}),
    )
    assert not found.is_posterior_equal
    # 4 decisions with one reward of 1, then 8 with three.
    assert found.counts == [CountChange("new", "a", Count(4, Fraction(1)), Count(8, Fraction(3)))]
    assert [change.mean for change in found.counts[0][2:]] == [0.25, 0.375]


def test_a_sum_that_differs_by_one_step_of_the_grid_is_a_change():
    found = diff_snapshots(snapshot({("new", "a"): (4, ONE)}), snapshot({("new", "a"): (4, ONE + 1)}))
    assert [change.after for change in found.counts] == [Count(4, 1 + Fraction(1, ONE))]


def test_another_worth_of_a_kind_that_is_counted_apart_is_named_and_what_it_makes_of_the_sums():
    def weighing(worth: float) -> dict[str, Any]:
        reward = {"low": 0.0, "high": 1.0, "combine": "weighted", "outcomes": [CLICK | {"worth": worth}, LIKE]}
        definition = define(plain_policy(reward=reward))
        place = RowKey("homepage", 1, "new", "a", 0)
        # Four decisions, a click of two of them and a like of one other: Σc 2 and 1, Σcc' 2, 0 and 1.
        rows = [
            (place, Statistics(0, np.array([4, 0, 0]))),
            (place._replace(tally="objectives"), Statistics(-5, np.array([2, 1, 2, 0, 1]))),
        ]
        return avro.decode_as("snapshot", build_snapshot(definition, rows, {}, 1, ""))

    found = diff_snapshots(weighing(0.75), weighing(0.5))
    assert not found.is_posterior_equal
    assert found.definition == [DefinitionChange("reward.outcomes[click].worth", 0.75, 0.5)]
    # 2 · 0.75 + 0.25, then 2 · 0.5 + 0.25.
    before, after = Count(4, Fraction(7, 4)), Count(4, Fraction(5, 4))
    assert found.counts == [CountChange("new", "a", before, after)]


def test_equal_rewards_on_different_grids_are_equal():
    # Rewards up to 3 are on a grid of 2^-13, up to 5 on one of 2^-12: the largest that keep |r| <= 2^15.
    narrow, wide = linear_policy(), linear_policy()
    wide["reward"]["high"] = 5.0
    found = diff_snapshots(snapshot({("new", "a"): (4, 2**13)}, **narrow), snapshot({("new", "a"): (4, 2**12)}, **wide))
    assert found.counts == []
    assert found.definition == [DefinitionChange("reward.high", 3.0, 5.0)]


def test_arms_are_added_retired_and_brought_back_and_an_added_one_counts_from_nothing():
    before = snapshot({}, arms=[{"name": "a"}, {"name": "b", "retired": True}])
    after = snapshot({("new", "c"): (1, 0)}, arms=[{"name": "a", "retired": True}, {"name": "b"}, {"name": "c"}])
    found = diff_snapshots(before, after)
    assert found.arms == [
        ArmChange("a", ON_OFFER, RETIRED),
        ArmChange("b", RETIRED, ON_OFFER),
        ArmChange("c", ABSENT, ON_OFFER),
    ]
    assert found.definition == []
    assert CountChange("new", "c", None, Count(1, Fraction(0))) in found.counts
    assert CountChange("other", "c", None, Count(0, Fraction(0))) in found.counts


def test_floor_and_parameters_are_named_by_their_place():
    found = diff_snapshots(
        snapshot({}, exploration={"floor": 0.01}),
        snapshot(
            {},
            exploration={"floor": 0.05},
            algorithm={"name": "beta_thompson", "prior_alpha": 2.0, "prior_beta": 1.0},
        ),
    )
    assert found.definition == [
        DefinitionChange("algorithm.prior_alpha", 1.0, 2.0),
        DefinitionChange("exploration.floor", 0.01, 0.05),
    ]


def test_entries_of_a_list_go_by_name_and_their_order_is_a_change():
    first, second = {"name": "x", "when": 1}, {"name": "y", "when": 2}
    assert list(definition_changes({"rules": [first, second]}, {"rules": [second, {**first, "when": 3}]})) == [
        DefinitionChange("rules[x].when", 1, 3),
        DefinitionChange("order of rules", ["x", "y"], ["y", "x"]),
    ]
    assert list(definition_changes([CLICK], [CLICK, LIKE])) == [DefinitionChange("[like]", None, LIKE)]


def test_the_ledger_s_offsets_move_by_partition():
    found = diff_snapshots(snapshot({}, {0: 5, 1: 9}), snapshot({}, {0: 8, 1: 9, 2: 1}))
    assert found.offsets == [OffsetMove(0, 5, 8), OffsetMove(2, 0, 1)]


def test_a_diff_is_json():
    found = diff_snapshots(
        snapshot({}, exploration={"floor": 0.01}),
        snapshot({("new", "a"): (4, ONE)}, {0: 4}, exploration={"floor": 0.05}),
    )
    plain = orjson.loads(orjson.dumps(found.to_plain()))
    assert plain["counts"] == [
        {
            "segment": "new",
            "arm": "a",
            "before": {"count": 0, "reward_sum": 0.0, "mean": None},
            "after": {"count": 4, "reward_sum": 1.0, "mean": 0.25},
        }
    ]
    assert plain["offsets"] == [{"partition": 0, "before": 0, "after": 4}]
    assert plain["definition"] == [{"where": "exploration.floor", "before": 0.01, "after": 0.05}]
