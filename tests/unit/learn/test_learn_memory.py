from __future__ import annotations

import struct

import numpy as np
import orjson
import pytest

from pipeline.errors import StateError
from pipeline.learn.memory import (
    Counted,
    FoldState,
    RowKey,
    counted_from_bytes,
    expires_of,
    fold_state_from_bytes,
    statistics_from_bytes,
    statistics_to_bytes,
)
from pipeline.models.sums.statistics import Statistics


def test_what_an_action_counts_for_is_read_back():
    counted = Counted(3, -32_768, 2**50)
    assert counted_from_bytes(counted.to_bytes()) == counted
    assert expires_of(counted.to_bytes()) == 2**50


@pytest.mark.parametrize("dimension", [0, 1, 3])
def test_statistics_are_read_back_to_the_last_bit(dimension):
    width = 3 + dimension + dimension * (dimension + 1) // 2
    sums = np.array([2**33 - 1, *range(-(2**62), -(2**62) + width - 1)], np.int64)
    statistics = Statistics(dimension, sums)
    assert statistics_from_bytes(statistics_to_bytes(statistics)) == statistics


def test_how_far_the_ledger_is_folded_is_read_back():
    assert fold_state_from_bytes(FoldState(7, 2**50).to_bytes()) == FoldState(7, 2**50)
    assert fold_state_from_bytes(FoldState().to_bytes()) == FoldState(0, -1)


def test_statistics_that_are_cut_short_stop_the_worker():
    stored = statistics_to_bytes(Statistics.zero(2))
    with pytest.raises(StateError):
        statistics_from_bytes(stored[:-8])


@pytest.mark.parametrize(
    ("read", "stored"),
    [
        (counted_from_bytes, struct.pack("<Bqqq", 3, 1, 0, 0)),
        (statistics_from_bytes, struct.pack("<BI3q", 2, 0, 0, 0, 0)),
        (fold_state_from_bytes, orjson.dumps([3, 0, 0])),
    ],
)
def test_state_of_an_unknown_version_stops_the_worker(read, stored):
    with pytest.raises(StateError, match=r"version [23], this code reads 1"):
        read(stored)


def test_row_keys_sort_by_number_where_they_are_numbers():
    keys = [RowKey("p", 1, "s", "a", bucket) for bucket in (10, 9, -1)]
    assert [key.bucket for key in sorted(keys)] == [-1, 9, 10]
