from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.models.grid import Grid
from pipeline.models.regressions.stratified import stratified
from pipeline.models.sums.statistics import Statistics
from pipeline.models.sums.strata import LEAST, cut

ONE = 2**15
Cells = dict[tuple[str, int], tuple[int, int]]


def sums(cells: Cells) -> dict[tuple[str, int], Statistics]:
    """Of (decisions, clicks)."""
    return {key: Statistics(0, np.array([n, r * ONE, r * ONE * ONE], np.int64)) for key, (n, r) in cells.items()}


def even(cells: Cells) -> dict[int, float]:
    return {bucket: 1.0 for _, bucket in cells}


def test_buckets_with_too_little_of_an_arm_go_together():
    cells = {("a", 0): (100, 10), ("b", 0): (20, 1), ("a", 1): (100, 10), ("b", 1): (20, 1), ("a", 2): (50, 5)}
    found = cut(sums(cells), "ab", even(cells))
    # b has its thirty with the second bucket; what comes after is too little for a stratum of its own.
    assert [[row.n for row in stratum.arms] for stratum in found.strata] == [[250, 40]]
    assert (found.first, found.left_out) == (0, 0)


def test_without_an_arm_there_is_nothing_to_compare():
    cells = {("a", 0): (100, 10)}
    assert cut(sums(cells), "ab", even(cells)).strata == ()
    assert cut({}, "ab", {}).strata == ()


def test_what_is_forgotten_counts_nothing_and_what_fades_less():
    cells = {("a", day): (100, 10 * day) for day in range(3)} | {("b", day): (100, 10) for day in range(3)}
    found = cut(sums(cells), "ab", {0: 0.0, 1: 0.5, 2: 1.0})
    assert [stratum.weight for stratum in found.strata] == [100.0, 200.0]
    mean, _ = stratified(found.strata, Grid(15))
    assert mean == pytest.approx([(0.1 + 2 * 0.2) / 3, 0.1])


@given(
    st.dictionaries(
        st.tuples(st.sampled_from("ab"), st.integers(0, 5)),
        st.integers(1, 200).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))),
    )
)
def test_every_decision_is_in_one_stratum_or_told_as_left_out(cells: Cells):
    found = cut(sums(cells), "ab", even(cells))
    assert all(row.n >= LEAST for stratum in found.strata for row in stratum.arms)
    if found.strata:
        within = sum(row.n for stratum in found.strata for row in stratum.arms)
        assert within + found.left_out == sum(n for n, _ in cells.values())
        mean, error = stratified(found.strata, Grid(15))
        assert ((mean >= 0.0) & (mean <= 1.0) & np.isfinite(error)).all()
