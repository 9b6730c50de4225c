from __future__ import annotations

import numpy as np

from pipeline.learn.memory import RowKey
from pipeline.models.sums.statistics import Statistics
from pipeline.publish.partials import Base, Mark, PartialKey, Partials

A = RowKey("homepage", 1, "new", "a", 0)
B = A._replace(arm="b")


def row(n: int) -> Statistics:
    return Statistics(0, np.array([n, 0, 0], np.int64))


def counts(partials: Partials) -> dict[str, int]:
    return {key.arm: statistics.n for key, statistics in partials.rows()}


def test_rows_are_in_when_their_mark_has_come():
    partials = Partials()
    partials.stage(PartialKey(A, 0), 10, row(1))
    assert counts(partials) == {}
    assert partials.has_staged
    assert partials.mark(0, Mark(10, 5)) == {PartialKey(A, 0): row(1)}
    assert counts(partials) == {"a": 1}
    assert partials.marks == {0: Mark(10, 5)}
    assert not partials.has_staged


def test_a_mark_completes_its_own_source_only():
    partials = Partials()
    partials.stage(PartialKey(A, 0), 10, row(1))
    partials.stage(PartialKey(A, 1), 20, row(2))
    partials.mark(1, Mark(20, 5))
    assert counts(partials) == {"a": 2}
    partials.mark(0, Mark(10, 5))
    assert counts(partials) == {"a": 3}


def test_the_latest_row_of_a_source_replaces_the_one_before():
    partials = Partials()
    for offset, n in ((10, 1), (20, 4)):
        partials.stage(PartialKey(A, 0), offset, row(n))
        partials.mark(0, Mark(offset, 5))
    assert counts(partials) == {"a": 4}


def test_a_repeat_of_rows_and_marks_that_are_in_changes_nothing():
    partials = Partials()
    log = [(10, 1), (20, 4), (20, 4), (10, 1), (15, 2)]
    for offset, n in log:
        partials.stage(PartialKey(A, 0), offset, row(n))
        partials.mark(0, Mark(offset, offset))
    assert counts(partials) == {"a": 4}
    assert partials.marks == {0: Mark(20, 20)}
    assert not partials.has_staged


def test_a_row_beyond_the_mark_goes_on_waiting():
    """A step that was cut off sent `a` as of 30; the step that replaced it is shorter and sent `b` as of 20.

    ledger     10 ──────────── 20 ──────────── 30
    1st step   ├ a as of 30 ×                        (no mark: killed)
    2nd step   ├ b as of 20, mark 20 ┤               what is in must be the fold below 20
    """
    partials = Partials()
    partials.stage(PartialKey(A, 0), 30, row(3))
    partials.stage(PartialKey(B, 0), 20, row(2))
    partials.mark(0, Mark(20, 5))
    assert counts(partials) == {"b": 2}
    partials.mark(0, Mark(30, 6))
    assert counts(partials) == {"a": 3, "b": 2}


def test_rows_come_sorted_by_key():
    partials = Partials()
    keys = [A._replace(bucket=10), B, A, A._replace(segment="alt")]
    for key in keys:
        partials.stage(PartialKey(key, 0), 1, row(1))
    partials.mark(0, Mark(1, 0))
    assert [key for key, _ in partials.rows()] == sorted(keys)


def test_a_cut_is_of_the_base_that_it_names_whatever_is_in_force_when_it_is_merged():
    """It is merged in a thread, while a replay's base may come in."""
    partials = Partials()
    for source, n in ((-1, 7), (-2, 9)):
        partials.stage(PartialKey(A, source), 1, row(n))
        partials.mark(source, Mark(1, 5))
        if source == -1:
            partials.rest_on(Base("plan", [], -1, 1, 5))
    cut = partials.cut()
    partials.rest_on(Base("plan", [], -2, 1, 5))
    assert cut.base is not None
    assert (cut.base.first_source, [statistics.n for _, statistics in cut.aged_rows()]) == (-1, [7])
    assert counts(partials) == {"a": 9}
