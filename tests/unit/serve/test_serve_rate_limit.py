from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.serve.http.rate_limit import MAX_CALLERS, RateLimit


def test_a_burst_goes_through_at_once_and_then_one_at_a_time() -> None:
    limit = RateLimit(rate_per_s=2.0, burst=3)
    assert [limit.wait_s("ada", 0.0) for _ in range(3)] == [0.0] * 3
    # Empty; two tokens come a second, so the next is there after half of one.
    assert limit.wait_s("ada", 0.0) == pytest.approx(0.5)
    assert limit.wait_s("ada", 0.25) == pytest.approx(0.25)
    assert limit.wait_s("ada", 0.5) == 0.0


def test_callers_do_not_take_from_each_other() -> None:
    limit = RateLimit(1.0, 1)
    assert limit.wait_s("ada", 0.0) == limit.wait_s("bob", 0.0) == 0.0
    assert limit.wait_s("ada", 0.0) > 0.0


def test_a_refused_request_costs_nothing_and_silence_saves_no_more_than_the_burst() -> None:
    limit = RateLimit(1.0, 2)
    for _ in range(9):
        limit.wait_s("ada", 0.0)
    assert limit.wait_s("ada", 1.0) == 0.0
    assert [limit.wait_s("ada", 1_000.0) for _ in range(3)] == [0.0, 0.0, 1.0]


def test_a_batch_larger_than_the_burst_is_paid_off_afterwards() -> None:
    limit = RateLimit(10.0, 5)
    assert limit.wait_s("ada", 0.0, cost=25) == 0.0
    # 20 are owed: paid after 2 s, and another one is there after 2.1 s.
    assert limit.wait_s("ada", 2.0) == pytest.approx(0.1)
    assert limit.wait_s("ada", 2.11) == 0.0


def test_no_more_callers_are_remembered_than_the_bound() -> None:
    limit = RateLimit(1.0, 1)
    for number in range(MAX_CALLERS + 10):
        limit.wait_s(str(number), 0.0)
    assert len(limit._buckets) == MAX_CALLERS
    assert limit.wait_s("0", 0.0) == 0.0  # forgotten, and so has a full bucket
    assert limit.wait_s(str(MAX_CALLERS), 0.0) > 0.0


@given(
    steps=st.lists(st.tuples(st.floats(0.0, 2.0), st.integers(1, 4)), max_size=60),
    rate=st.floats(0.5, 20.0),
    burst=st.integers(1, 8),
)
def test_no_caller_ever_gets_more_than_the_burst_and_the_rate(
    steps: list[tuple[float, int]], rate: float, burst: int
) -> None:
    limit, now_s, let_through = RateLimit(rate, burst), 0.0, 0
    for pause_s, cost in steps:
        now_s += pause_s
        if limit.wait_s("ada", now_s, cost) == 0.0:
            let_through += cost
        # One batch may be owed: at most 4 here.
        assert let_through <= burst + rate * now_s + 4 + 1e-6
