from __future__ import annotations

import numpy as np
import pytest

from pipeline.errors import StateError
from pipeline.models.sums.contexts import context_name, weigh_contexts
from pipeline.models.sums.statistics import Statistics

ONE = 2**15
NOTHING = Statistics.zero(2)


def row(n: int, earned: float) -> Statistics:
    return Statistics(-2, np.array([n, round(earned * ONE)]))


A, B = context_name([4, -3]), context_name([4, 8])


def test_contexts_come_in_the_order_of_their_names_with_what_all_buckets_say() -> None:
    rows = [(1.0, 1.0, B, row(3, 1.0)), (1.0, 1.0, A, row(2, 0.5)), (1.0, 1.0, A, row(5, 4.0))]
    known = weigh_contexts(rows, NOTHING, 2, 2, 15)
    assert known.contexts.tolist() == [[1.0, -0.75], [1.0, 2.0]]
    assert known.counts.tolist() == [7.0, 3.0]
    assert known.rewards.tolist() == [4.5 * ONE, 1.0 * ONE]


def test_a_bucket_counts_by_its_age_and_is_gone_without_a_trace_at_0() -> None:
    known = weigh_contexts([(0.5, 1.0, A, row(4, 2.0)), (0.0, 1.0, B, row(9, 9.0))], NOTHING, 2, 2, 15)
    assert (known.contexts.tolist(), known.counts.tolist(), known.rewards.tolist()) == ([[1.0, -0.75]], [2.0], [ONE])


def test_of_open_decisions_no_fewer_count_than_were_earned_with() -> None:
    # A tenth of each has come: of 20 decisions 2 count, of 4 with 3 successes 3.
    known = weigh_contexts([(1.0, 0.1, A, row(20, 1.0)), (1.0, 0.1, B, row(4, 3.0))], NOTHING, 2, 2, 15)
    assert known.counts.tolist() == [2.0, 3.0]


def test_a_context_whose_decisions_were_all_erased_is_as_if_it_had_never_come() -> None:
    assert not len(weigh_contexts([(1.0, 1.0, A, row(0, 0.0))], NOTHING, 2, 2, 15).contexts)


@pytest.mark.parametrize("wrong", [row(-1, 0.0), row(1, 1.5), row(3, -0.25), row(0, 1.0)])
def test_counts_that_no_decisions_make_stop_the_worker(wrong: Statistics) -> None:
    with pytest.raises(StateError, match="context:4,-3 has"):
        weigh_contexts([(1.0, 1.0, A, wrong)], NOTHING, 2, 2, 15)
