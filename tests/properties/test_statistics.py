"""Statistics are a commutative group, and every vectorised sum is what Python's unbounded integers give."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.models.grid import FEATURE_LIMIT, REWARD_LIMIT
from pipeline.models.sums.statistics import Statistics, contributions, fold, width


class Change(NamedTuple):
    group: int
    dn: int
    dr: int
    drr: int
    x: tuple[int, ...]


GROUPS = 4
# Extremes as often as not: they are where a sum would lose a digit.
rewards = st.one_of(st.integers(-REWARD_LIMIT, REWARD_LIMIT), st.sampled_from([-REWARD_LIMIT, 0, REWARD_LIMIT]))
features = st.one_of(st.integers(-FEATURE_LIMIT, FEATURE_LIMIT), st.sampled_from([-FEATURE_LIMIT, FEATURE_LIMIT]))


@st.composite
def batches(draw: st.DrawFn) -> tuple[int, list[Change]]:
    dimension = draw(st.integers(0, 5))
    kinds = st.one_of(
        rewards.map(lambda r: (1, r, r * r)),
        st.tuples(rewards, rewards).map(lambda r: (0, r[1] - r[0], r[1] ** 2 - r[0] ** 2)),
        rewards.map(lambda r: (-1, -r, -r * r)),
    )
    x = st.tuples(*[features] * dimension)
    change = st.builds(lambda group, kind, x: Change(group, *kind, x), st.integers(0, GROUPS - 1), kinds, x)
    return dimension, draw(st.lists(change, max_size=40))


def folded(dimension: int, changes: list[Change]) -> list[list[int]]:
    groups, dn, dr, drr, x = zip(*changes, strict=True) if changes else ((), (), (), (), ())
    X = np.array(x, np.int16).reshape(len(changes), dimension)
    return fold(groups, GROUPS, dn, dr, drr, X).tolist()


def summed_by_python(dimension: int, changes: list[Change]) -> list[list[int]]:
    rows = [[0] * width(dimension) for _ in range(GROUPS)]
    for group, dn, dr, drr, x in changes:
        triangle = [x[i] * x[j] * dn for i in range(dimension) for j in range(i, dimension)]
        change = [dn, dr, drr, *(dr * value for value in x), *triangle]
        rows[group] = [total + value for total, value in zip(rows[group], change, strict=True)]
    return rows


@given(batches())
def test_fold_is_what_python_integers_give(batch):
    assert folded(*batch) == summed_by_python(*batch)


@given(batches(), st.randoms(use_true_random=False))
def test_the_order_of_changes_does_not_matter(batch, random):
    dimension, changes = batch
    shuffled = random.sample(changes, len(changes))
    assert folded(dimension, shuffled) == folded(dimension, changes)


@given(batches(), st.data())
def test_the_batching_of_changes_does_not_matter(batch, data):
    dimension, changes = batch
    cut = data.draw(st.integers(0, len(changes)))
    first, second = (np.array(folded(dimension, part)) for part in (changes[:cut], changes[cut:]))
    assert (first + second).tolist() == folded(dimension, changes)


@given(st.integers(0, 3).flatmap(lambda d: st.lists(st.tuples(st.tuples(*[features] * d), rewards), min_size=1)))
def test_adding_and_removing_decisions_gives_them_back_exactly(rows):
    X = np.array([x for x, _ in rows], np.int16).reshape(len(rows), -1)
    known = Statistics(X.shape[1], contributions(X, [r for _, r in rows]))
    one = Statistics(X.shape[1], contributions(X[:1], [rows[0][1]]))
    others = Statistics(X.shape[1], contributions(X[1:], [r for _, r in rows[1:]]))
    assert known - one == others
    assert one + others == others + one == known
    assert Statistics.from_bytes(known.dimension, known.to_bytes()) == known


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 17), st.integers(1, 300))
def test_large_random_batches_are_exact_too(seed, dimension, group_count):
    rng = np.random.default_rng(seed)
    m = 500
    X = rng.choice([-32767, -32766, 32766, 32767], (m, dimension)).astype(np.int16)
    r0, r1 = rng.choice([-32768, -32767, 32767, 32768], (2, m))
    kind = rng.integers(0, 3, m)
    dn = np.array([1, 0, -1])[kind]
    dr = np.choose(kind, [r1, r1 - r0, -r0])
    drr = np.choose(kind, [r1**2, r1**2 - r0**2, -(r0**2)])
    groups = rng.integers(0, group_count, m)
    # int64 arithmetic is exact here: 500 * 2**31 < 2**63
    x = X.astype(np.int64)
    i, j = np.triu_indices(dimension)
    each = np.column_stack((dn, dr, drr, dr[:, None] * x, dn[:, None] * x[:, i] * x[:, j]))
    expected = np.zeros((group_count, width(dimension)), np.int64)
    np.add.at(expected, groups, each)
    assert np.array_equal(fold(groups, group_count, dn, dr, drr, X), expected)
