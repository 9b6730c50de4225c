from __future__ import annotations

import numpy as np
import pytest

from pipeline.errors import StateError
from pipeline.learn.ledger import LedgerRecord, fold_ledger, ledger_record, merge_deltas
from pipeline.learn.memory import Counted, FoldState, RowKey
from pipeline.models.sums.statistics import Statistics

A = RowKey("homepage", 1, "new", "a", 0)
B = A._replace(arm="b")


def vector(*entries: int) -> bytes:
    return np.array(entries, "<i2").tobytes()


def record(offset, action_id="x", revision=1, reward=0, key=A, x=b"", expires_at_ms=100, event_time_ms=0):
    return LedgerRecord(offset, action_id, key, revision, reward, x, expires_at_ms, event_time_ms)


def fold(*records, counted=None, state=None) -> dict[RowKey, list[int]]:
    result = fold_ledger(records, counted or {}, state or FoldState())
    return {key: delta.sums.tolist() for key, delta in result.deltas.items()}


def test_a_first_record_adds_a_decision_with_its_reward():
    assert fold(record(0, reward=7)) == {A: [1, 7, 49]}


def test_a_later_revision_changes_the_reward_and_not_the_count():
    counted = {"x": Counted(1, 5, 100)}
    # Σr: 7 - 5; Σr²: 49 - 25
    assert fold(record(1, revision=2, reward=7), counted=counted) == {A: [0, 2, 24]}


def test_revisions_of_one_batch_come_to_the_last():
    assert fold(record(0, revision=1, reward=3), record(1, revision=2, reward=-4)) == {A: [1, -4, 16]}


def test_a_record_that_repeats_what_counts_changes_nothing():
    result = fold_ledger([record(5, revision=2, reward=7)], {"x": Counted(2, 7, 100)}, FoldState())
    assert result.deltas == {}
    assert result.counted == {"x": Counted(2, 7, 100)}


def test_a_lower_revision_contributes_nothing():
    assert fold(record(5, revision=1, reward=9), counted={"x": Counted(2, 7, 100)}) == {}


def test_of_equal_revisions_the_later_counts():
    # A step that was repeated after a crash may have found its facts in another order.
    assert fold(record(0, revision=2, reward=9), record(1, revision=2, reward=4)) == {A: [1, 4, 16]}


def test_records_below_the_position_are_passed_over():
    state = FoldState(position=1)
    assert fold(record(0, reward=9), record(1, "y", reward=4), state=state) == {A: [1, 4, 16]}
    assert state.position == 2


def test_context_vectors_add_their_products():
    # b = r x = 3 (2, -1); A = x xᵀ: 4, -2, 1
    assert fold(record(0, reward=3, x=vector(2, -1))) == {A: [1, 3, 9, 6, -3, 4, -2, 1]}


def test_a_revision_changes_b_by_the_difference_and_leaves_the_products():
    counted = {"x": Counted(1, 3, 100)}
    # Σr: 5 - 3; Σr²: 25 - 9; b: 2 (2, -1)
    assert fold(record(1, revision=2, reward=5, x=vector(2, -1)), counted=counted) == {A: [0, 2, 16, 4, -2, 0, 0, 0]}


def test_rows_are_kept_apart_and_dimensions_may_differ_between_them():
    other = RowKey("linear", 1, "new", "a", 0)
    deltas = fold(
        record(0, "x", reward=1), record(1, "y", reward=2, key=B), record(2, "z", reward=3, key=other, x=vector(1))
    )
    assert deltas == {A: [1, 1, 1], B: [1, 2, 4], other: [1, 3, 9, 3, 1]}


def test_one_row_with_vectors_of_two_lengths_stops_the_worker():
    with pytest.raises(StateError, match="the ledger is damaged"):
        fold(record(0, "x", x=vector(1)), record(1, "y", x=vector(1, 2)))


def test_a_row_of_another_dimension_than_its_change_stops_the_worker():
    with pytest.raises(StateError, match="dimension 0"):
        merge_deltas({A: Statistics.zero(0)}, [(A, Statistics.zero(1))])


def test_a_record_of_an_action_that_has_expired_and_is_forgotten_is_a_repeat():
    """
    expires   99  100
    event time     100        at 100 a revision may still come, at 99 no more
    """
    state = FoldState(watermark_ms=100)
    assert fold(record(0, "x", reward=1, expires_at_ms=99), state=state) == {}
    assert fold(record(1, "y", reward=1, expires_at_ms=100), state=state) == {A: [1, 1, 1]}
    assert state.position == 2


def test_event_time_is_the_highest_stamp():
    state = FoldState()
    fold(record(0, event_time_ms=50), record(1, revision=2, event_time_ms=40), state=state)
    assert state.watermark_ms == 50


def test_the_largest_rewards_and_entries_fold_exactly():
    # r = 2^15, x = 32767: the bounds of the grid
    extreme = [record(i, f"x{i}", reward=2**15, x=vector(32_767)) for i in range(3)]
    assert fold(*extreme) == {A: [3, 3 * 2**15, 3 * 2**30, 3 * 2**15 * 32_767, 3 * 32_767**2]}


def test_a_row_that_was_not_there_begins_at_zero_and_others_are_added_to():
    rows = {A: Statistics(0, np.array([1, 2, 4], np.int64))}
    merge_deltas(rows, [(A, Statistics(0, np.array([1, 3, 9], np.int64))), (B, Statistics.zero(0))])
    assert {key: row.sums.tolist() for key, row in rows.items()} == {A: [2, 5, 13], B: [0, 0, 0]}


def test_a_ledger_record_keeps_what_the_fold_needs():
    fields = {
        "action_id": "x",
        "revision": 2,
        "is_settled": True,
        "policy": "homepage",
        "generation": 1,
        "segment": "new",
        "arm": "a",
        "reward": 7,
        "context_vector": b"\x01\x00",
        "bucket": 0,
        "expires_at_ms": 100,
        "event_time_ms": 50,
        "is_erased": False,
        "is_reward_final": False,
    }
    assert ledger_record(3, fields) == LedgerRecord(3, "x", A, 2, 7, b"\x01\x00", 100, 50)


GONE = 1 << 62


def erased(offset, action_id="x", reward=0, *, is_final=False, **others) -> LedgerRecord:
    return record(offset, action_id, GONE, reward, **others)._replace(is_erased=True, is_reward_final=is_final)


def test_an_erasure_takes_back_what_is_remembered_once_and_for_ever():
    later = record(3, revision=9, reward=5)
    # Added 1 and 7, taken back the same; the repeat and the later revision change nothing.
    assert fold(record(0, reward=7), erased(1), erased(2), later) == {A: [0, 0, 0]}
    result = fold_ledger([erased(1), erased(2), later], {"x": Counted(1, 7, 100)}, FoldState())
    assert {key: delta.sums.tolist() for key, delta in result.deltas.items()} == {A: [-1, -7, -49]}
    assert result.counted["x"].is_erased


def test_an_erasure_of_what_has_not_counted_keeps_it_from_counting():
    assert fold(erased(0), record(1, revision=2, reward=7)) == {}


def test_an_expired_action_is_erased_by_its_final_reward_whatever_is_remembered():
    state = FoldState(watermark_ms=101)
    final = erased(0, reward=7, is_final=True)
    for remembered in ({}, {"x": Counted(1, 3, 100)}):
        assert fold(final, erased(1, reward=7, is_final=True), counted=remembered, state=FoldState(0, 101)) == {
            A: [-1, -7, -49]
        }
    # Nobody can tell what it counted for: nothing happens, and it is to be asked again.
    result = fold_ledger([erased(0)], {"x": Counted(1, 3, 100)}, state)
    assert (result.deltas, result.counted) == ({}, {})


def test_an_erased_vector_is_taken_out_of_every_moment():
    x = vector(3, -2)
    sums = fold(record(0, reward=5, x=x), record(1, "y", reward=2, x=vector(1, 1)), erased(2, x=x))
    # What y leaves: n, Σr, Σr², b = 2 (1, 1), A = (1, 1, 1).
    assert sums == {A: [1, 2, 4, 2, 2, 1, 1, 1]}


def test_every_record_moves_the_watermark():
    """It is a function of the ledger alone: whoever reads it can tell what has expired."""
    state = FoldState()
    fold(record(0, revision=3, event_time_ms=5), record(1, revision=2, event_time_ms=9), state=state)
    assert state.watermark_ms == 9


def test_a_decision_whose_context_gave_no_vector_tells_the_time_and_changes_nothing():
    state = FoldState()
    without = record(1, revision=1, reward=7, event_time_ms=2)._replace(is_undecodable=True, vector=b"")
    assert fold(without, record(3, "y", reward=2, event_time_ms=5), state=state) == {A: [1, 2, 4]}
    assert (state.position, state.watermark_ms) == (4, 5)
    assert fold_ledger([without, erased(3)], {}, FoldState()).deltas == {}


def test_the_analysis_group_tells_the_time_and_changes_nothing_whatever_comes_of_it():
    state = FoldState()
    of_it = [record(n, revision=n, reward=7, event_time_ms=n)._replace(is_analysis=True) for n in (1, 2)]
    assert fold(*of_it, record(3, "y", reward=2, event_time_ms=5), state=state) == {A: [1, 2, 4]}
    assert (state.position, state.watermark_ms) == (4, 5)
    # Taken back is what was remembered, which is nothing.
    result = fold_ledger([*of_it, erased(3)], {}, FoldState())
    assert result.deltas == {}
    assert result.counted["x"].is_erased
