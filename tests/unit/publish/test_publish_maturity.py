from __future__ import annotations

import numpy as np
import pytest

from pipeline.learn.memory import RowKey
from pipeline.models.sums.delays import COLUMNS, column_for
from pipeline.models.sums.statistics import Statistics
from pipeline.policy.tallies import DELAY_ROW, SETTLED_ROW
from pipeline.publish.maturity import as_of, mature
from tests.samples import CLICK, define, plain_policy

WINDOW_MS = 10_000
# A click counts for 10 s, in buckets of 1 s.
POLICY = define(plain_policy(settle="delay_corrected", outcomes=(CLICK,), statistics={"bucket": "1s"}))
PLACE = ("other", "a", 0)


def key(tally: str = "", arm: str = "a", bucket: int = 0) -> RowKey:
    return RowKey("homepage", 1, "other", arm, bucket, tally)


def shown(n: int, clicks: int = 0, arm: str = "a", bucket: int = 0) -> tuple[RowKey, Statistics]:
    return key("", arm, bucket), Statistics(0, np.array([n, clicks << 15, clicks << 30]))


def settled(n: int, arm: str = "a", bucket: int = 0) -> tuple[RowKey, Statistics]:
    return key(SETTLED_ROW, arm, bucket), Statistics(-1, np.array([n]))


def came(delays_ms: list[int], arm: str = "a", bucket: int = 0) -> tuple[RowKey, Statistics]:
    counts = np.zeros(COLUMNS, np.int64)
    for delay_ms in delays_ms:
        counts[column_for(delay_ms, WINDOW_MS)] += 1
    return key(DELAY_ROW + "click", arm, bucket), Statistics(-COLUMNS, counts)


def test_what_has_settled_counts_whole_however_late_it_is():
    found = mature(POLICY, [shown(10), settled(10)], 0)
    assert found.shares == {PLACE: 1.0}


def test_what_is_past_its_window_counts_whole_though_nobody_has_said_that_it_settled():
    # Decided within [0, 1 s): the youngest is 10 s old at 11 s.
    assert mature(POLICY, [shown(10)], 11_000).shares == {PLACE: 1.0}


def test_before_its_time_a_decision_counts_for_nothing_but_what_came_of_it():
    found = mature(POLICY, [shown(10, 2), came([500, 500])], -5)
    assert found.shares == {PLACE: 0.0}
    assert found.came == {PLACE: 2}


def test_open_decisions_count_by_the_share_that_has_come_and_settled_ones_whole():
    # Of very many old decisions half of the clicks came within 1 s, half between 8 s and the end of the window. Of
    # the bucket of [97 s, 98 s), 2 to 3 s old at 100 s, half of what comes has come: of 4 settled and 6 open, 4 + 3.
    old = [shown(10**6, 10**5), settled(10**6), came([500] * 50_000 + [9_000] * 50_000)]
    young = [shown(10, bucket=97), settled(4, bucket=97)]
    found = mature(POLICY, [*old, *young], 100_000)
    assert found.shares["other", "a", 97] == pytest.approx(0.7, abs=1e-3)


def test_an_arm_of_which_nothing_has_come_is_taken_to_be_as_late_as_the_others():
    old = [shown(10**6, 10**5), settled(10**6), came([500] * 50_000 + [9_000] * 50_000)]
    # That nothing has come of the one decision yet makes it a little later.
    found = mature(POLICY, [*old, shown(1, arm="b", bucket=97)], 100_000)
    assert found.shares["other", "b", 97] == pytest.approx(0.5, abs=0.05)


def test_arms_that_are_late_in_their_own_ways_are_corrected_in_their_own_ways():
    rows = [shown(10**6, 10**5), settled(10**6), came([500] * 100_000)]
    rows += [shown(10**6, 10**5, "b"), settled(10**6, "b"), came([9_000] * 100_000, "b")]
    rows += [shown(10, bucket=97), shown(10, arm="b", bucket=97)]
    shares = mature(POLICY, rows, 100_000).shares
    assert shares["other", "a", 97] == pytest.approx(1.0, abs=1e-2)
    assert shares["other", "b", 97] == pytest.approx(0.0, abs=1e-2)


def test_of_no_more_decisions_something_came_than_there_are():
    # Two kinds came of one decision.
    like = key(DELAY_ROW + "like"), came([500])[1]
    assert mature(POLICY, [shown(1, 1), came([500]), like], 0).came == {PLACE: 1}


def test_a_bucket_whose_decisions_were_all_erased_leaves_no_trace():
    erased = [shown(0, bucket=3), settled(0, bucket=3), came([], bucket=3)]
    rows = [shown(10, 1), came([500])]
    assert mature(POLICY, [*rows, *erased], 5_000) == mature(POLICY, rows, 5_000)


def test_the_order_of_rows_means_nothing():
    rows = [shown(10, 2), came([500, 9_000]), settled(3), shown(7, 1, "b", 2), came([1_200], "b", 2)]
    assert mature(POLICY, rows[::-1], 6_000) == mature(POLICY, rows, 6_000)


def test_event_time_makes_a_difference_only_while_something_is_open():
    assert as_of([shown(3), settled(3), came([500])], 7_000) == 0
    assert as_of([shown(3), settled(2)], 7_000) == 7_000
    assert as_of([shown(3)], -1) == 0
