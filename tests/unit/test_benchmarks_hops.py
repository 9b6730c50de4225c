"""When an outcome was where, by cuts through the ledger."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.hops import Cut, Outcomes, hops, reached


def outcomes(*places: tuple[int, int]) -> Outcomes:
    partitions, offsets = (np.array(column, np.int64) for column in zip(*places, strict=True))
    moments = np.zeros(len(places))
    return Outcomes(partitions, offsets, moments, moments + 1.0, moments + 3.0)


def test_an_outcome_is_in_with_the_first_cut_of_its_partition_above_its_offset():
    """Ledger of partition 0: | 0 1 | 2 3 |, the cuts at 10 and 20 ms; of partition 1: | 0 |, at 30."""
    cuts = [Cut(0, 2, 10.0), Cut(1, 1, 30.0), Cut(0, 4, 20.0)]
    assert reached(outcomes((0, 0), (0, 1), (0, 2), (1, 0)), cuts).tolist() == [10.0, 10.0, 20.0, 30.0]


def test_a_cut_that_comes_again_takes_nothing_out():
    assert reached(outcomes((0, 3)), [Cut(0, 4, 10.0), Cut(0, 2, 15.0), Cut(0, 5, 20.0)]).tolist() == [10.0]


def test_an_outcome_that_is_in_no_cut_is_not_passed_over():
    with pytest.raises(ValueError, match="no cut of ledger partition 0 is above 7"):
        reached(outcomes((0, 7)), [Cut(0, 7, 1.0)])


def test_hops_go_from_each_stage_to_the_next():
    found = hops(outcomes((0, 0)), {"folded": [Cut(0, 1, 8.0)], "in use": [Cut(0, 1, 20.0)]})
    assert {name: times.tolist() for name, times in found.items()} == {
        "due → arrived": [1.0],
        "arrived → joined": [2.0],
        "joined → folded": [5.0],
        "folded → in use": [12.0],
    }
