from __future__ import annotations

import numpy as np
import pytest

from pipeline.errors import StateError
from pipeline.models.grid import BLOCK_ROWS, MAX_ROWS
from pipeline.models.sums import statistics
from pipeline.models.sums.statistics import Statistics, contributions, fold, total, width


def some_rows(n: int, *, dimension: int = 0) -> Statistics:
    sums = np.zeros(width(dimension), np.int64)
    sums[0] = n
    return Statistics(dimension, sums)


def test_a_row_reads_n_sum_square_sum_b_then_the_upper_triangle():
    # x = (2, 3), r = 5:  n = 1, Σr = 5, Σr² = 25, b = (10, 15), A = [[4, 6], [6, 9]] → 4, 6, 9
    row = contributions(np.array([[2, 3]], np.int16), [5])
    assert row.tolist() == [1, 5, 25, 10, 15, 4, 6, 9]
    assert width(2) == len(row)


def test_moments_are_the_full_symmetric_matrix_and_b():
    # x = (1, 2, 3), r = -1
    known = Statistics(3, contributions(np.array([[1, 2, 3]], np.int16), [-1]))
    A, b = known.moments()
    assert A.tolist() == [[1, 2, 3], [2, 4, 6], [3, 6, 9]]
    assert b.tolist() == [-1, -2, -3]
    assert (known.n, known.reward_sum, known.reward_square_sum) == (1, -1, 1)


def test_the_three_kinds_of_change_take_a_reward_in_change_it_and_take_it_out():
    X = np.array([[2, 3]], np.int16)
    added = fold([0], 1, [1], [5], [25], X)
    revised = fold([0], 1, [0], [7 - 5], [49 - 25], X)
    removed = fold([0], 1, [-1], [-7], [-49], X)
    assert (added + revised).tolist() == [contributions(X, [7]).tolist()]
    assert not (added + revised + removed).any()


def test_each_group_gets_its_own_changes_and_a_group_without_any_gets_zeros():
    X = np.array([[1], [2], [3]], np.int16)
    sums = fold([2, 0, 2], 4, [1, 1, 1], [1, 1, 1], [1, 1, 1], X)
    # n, Σr, Σr², b = Σx, A = Σx²: group 0 holds x = 2, group 2 holds 1 and 3
    assert sums.tolist() == [[1, 1, 1, 2, 4], [0] * 5, [2, 2, 2, 4, 10], [0] * 5]


def test_without_features_only_n_and_the_reward_sums_are_kept():
    sums = fold([1, 1, 0], 2, [1, 1, 0], [3, 4, -1], [9, 16, -5], np.zeros((3, 0), np.int16))
    assert sums.tolist() == [[0, -1, -5], [2, 7, 25]]


def test_no_changes_make_no_difference():
    assert fold([], 2, [], [], [], np.zeros((0, 2), np.int16)).tolist() == [[0] * 8, [0] * 8]


def test_a_full_block_of_the_largest_values_is_exact():
    # The sums of a block's rows come as close to 2**53 as they ever do.
    m = BLOCK_ROWS
    X = np.broadcast_to(np.array([[32767]], np.int16), (m, 1))
    sums = fold(np.zeros(m, np.int64), 1, np.ones(m, np.int64), *np.broadcast_to([[65535], [2**30 - 1]], (2, m)), X)
    assert sums.tolist() == [[m, m * 65535, m * (2**30 - 1), m * 65535 * 32767, m * 32767**2]]


def test_a_batch_of_several_blocks_is_the_sum_of_its_blocks(monkeypatch):
    rng = np.random.default_rng(1)
    X = rng.integers(-100, 100, (10, 3)).astype(np.int16)
    arguments = (rng.integers(0, 2, 10), 2, np.ones(10, np.int64), np.arange(10), np.arange(10) ** 2, X)
    whole = fold(*arguments)
    monkeypatch.setattr(statistics, "BLOCK_ROWS", 4)
    assert fold(*arguments).tolist() == whole.tolist()


def test_more_than_65536_groups_keep_their_numbers():
    # 65,537 is 1 in 16 bits, and would be sorted before 3.
    sums = fold([65_537, 3, 65_537], 65_538, [1, 1, 1], [1, 2, 3], [1, 4, 9], np.ones((3, 1), np.int16))
    assert sums[3].tolist() == [1, 2, 4, 2, 1]
    assert sums[65_537].tolist() == [2, 4, 10, 4, 2]
    assert sums.sum(axis=0).tolist() == [3, 6, 14, 6, 3]


@pytest.mark.parametrize(
    ("dn", "dr", "drr"), [(2, 0, 0), (-2, 0, 0), (0, 2**16 + 1, 0), (0, 0, 2**30 + 1), (0, 0, -(2**30) - 1)]
)
def test_a_change_that_no_rewards_make_is_refused(dn, dr, drr):
    with pytest.raises(ValueError, match="no rewards on the grid"):
        fold([0], 1, [dn], [dr], [drr], np.zeros((1, 1), np.int16))


@pytest.mark.parametrize("group", [-1, 2])
def test_a_change_to_no_group_is_refused(group):
    with pytest.raises(ValueError, match="2 groups are numbered from 0"):
        fold([group], 2, [1], [0], [0], np.zeros((1, 1), np.int16))


def test_a_row_takes_max_rows_decisions_and_not_one_more():
    full = some_rows(MAX_ROWS)
    assert (some_rows(MAX_ROWS - 1) + some_rows(1)).n == MAX_ROWS
    with pytest.raises(StateError, match="split its bucket"):
        full + some_rows(1)
    with pytest.raises(StateError, match="split its bucket"):
        some_rows(-MAX_ROWS) - some_rows(1)


def test_zero_is_neutral_and_a_difference_can_be_negative():
    three = some_rows(3, dimension=2)
    assert three + Statistics.zero(2) == three
    assert (Statistics.zero(2) - three).n == -3
    assert three - three == Statistics.zero(2)


def test_statistics_of_different_dimensions_do_not_add_up():
    with pytest.raises(StateError, match="dimensions 1 and 2"):
        Statistics.zero(1) + Statistics.zero(2)
    with pytest.raises(StateError, match="dimensions 1 and 2"):
        Statistics.zero(1) - Statistics.zero(2)
    assert Statistics.zero(1) != Statistics.zero(2)
    assert Statistics.zero(1) != 0


def test_equal_sums_are_equal_and_hash_alike():
    assert some_rows(3) == some_rows(3)
    assert len({some_rows(3), some_rows(3), some_rows(4)}) == 2


def test_bytes_are_little_endian_int64_in_the_order_of_the_layout():
    row = Statistics(1, contributions(np.array([[2]], np.int16), [-1]))
    # n = 1, Σr = -1, Σr² = 1, b = -2, A = 4
    assert row.to_bytes() == b"".join(value.to_bytes(8, "little", signed=True) for value in (1, -1, 1, -2, 4))
    assert Statistics.from_bytes(1, row.to_bytes()) == row


def test_bytes_of_another_dimension_are_refused():
    with pytest.raises(StateError, match="dimension 2 take 64 bytes: seen 24"):
        Statistics.from_bytes(2, Statistics.zero(0).to_bytes())


@pytest.mark.parametrize("sums", [np.zeros(4, np.int64), np.zeros(3, np.float64), np.zeros((1, 3), np.int64)])
def test_sums_of_another_shape_or_type_are_refused(sums):
    with pytest.raises(StateError, match="are int64 of shape"):
        Statistics(0, sums)


def test_sums_cannot_be_changed_from_outside():
    sums = np.zeros(3, np.int64)
    row = Statistics(0, sums)
    sums[0] = 7
    assert row.n == 0
    with pytest.raises(ValueError, match="read-only"):
        row.sums[0] = 7


def test_a_total_is_the_sum_of_its_parts_and_of_one_dimension():
    rng = np.random.default_rng(8)
    parts = [Statistics(2, np.concatenate(([7], rng.integers(-(2**40), 2**40, width(2) - 1)))) for _ in range(5)]
    assert total(parts, 2) == parts[0] + parts[1] + parts[2] + parts[3] + parts[4]
    assert total([], 3) == Statistics.zero(3)
    with pytest.raises(StateError, match="dimensions 3 and 2 don't add up"):
        total(parts, 3)
