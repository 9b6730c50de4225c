"""Samples go through the ledger as all that counts does: revised, settled, taken back to the integer."""

from __future__ import annotations

from typing import Any

import numpy as np

from pipeline.learn.ledger import fold_ledger, ledger_record, merge_deltas
from pipeline.learn.memory import Counted, FoldState
from pipeline.policy.samples import DELAYS, REASONS, REWARD, WATCH, reward_column
from tests.samples import plain_policy
from tests.unit.join.test_join_step import ONE, Bench


def folded(rewards: list[dict[str, Any]]) -> dict[str, list[int]]:
    """What LEARN makes of ledger records: the watched rows, over all arms."""
    state, counted, rows = FoldState(), dict[str, Counted](), {}
    fold = fold_ledger([ledger_record(offset, fields) for offset, fields in enumerate(rewards)], counted, state)
    merge_deltas(rows, fold.deltas.items())
    found: dict[str, list[int]] = {}
    for key, row in rows.items():
        if key.tally.startswith(WATCH):
            found[key.tally] = (np.array(found.get(key.tally, 0)) + row.sums).tolist()
    return found


def test_a_reward_that_is_revised_moves_from_its_column_to_another():
    bench = Bench(plain_policy(settle="optimistic", monitors={"sample": 1.0}))
    bench.decide(0)
    before = folded(bench.rewards)
    assert before[REWARD][reward_column(0)] == 1
    assert before[REASONS] == [1, 0, 0]
    assert DELAYS not in before
    bench.click(3)
    after = folded(bench.rewards)
    assert (after[REWARD][reward_column(0)], after[REWARD][reward_column(ONE)]) == (0, 1)
    assert sum(after[REWARD]) == sum(after[DELAYS]) == 1
    # 3 s is the first of [3 s, 4 s): columns are [0, 1), [1, 1.5), [1.5, 2), [2, 3), [3, 4).
    assert after[DELAYS][4] == 1


def test_what_is_not_sampled_is_as_it_always_was():
    bench = Bench(plain_policy(settle="optimistic"))
    bench.decide(0)
    assert bench.rewards[0]["tallies"] == []


def test_a_sample_that_is_given_up_takes_back_what_it_counted():
    bench = Bench(plain_policy(settle="optimistic", monitors={"sample": 1.0}))
    bench.decide(0)
    assert folded(bench.rewards)
    told = [dict(bench.rewards[0]), {**bench.rewards[0], "revision": 2, "tallies": []}]
    assert not any(any(columns) for columns in folded(told).values())
