from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from pipeline.models.sums.groups import GROUPS, MEMBERS, group_for, group_name, halves, weigh_groups
from pipeline.models.sums.statistics import Statistics, contributions
from pipeline.models.sums.weighted import ArmPrior, weigh

NO_CONTEXT = np.zeros((0, 0), np.int16)


def test_actions_fall_into_groups_alike_whatever_their_names_have_in_common():
    for names in ([f"a-{n}" for n in range(16_000)], [f"{n * 2}" for n in range(16_000)]):
        counts = Counter(map(group_for, names))
        assert len(counts) == GROUPS
        # 1,000 expected, a standard deviation of 31.
        assert all(abs(count - 1_000) < 150 for count in counts.values())


def test_each_member_takes_half_of_the_groups_twice_and_each_group_counts_once_on_average():
    taken = halves()
    assert taken.shape == (MEMBERS, GROUPS)
    assert set(taken.ravel()) == {0.0, 2.0}
    assert (taken.sum(axis=1) == GROUPS).all()
    assert (taken.mean(axis=0) == 1.0).all()


def test_the_spread_over_members_is_that_of_the_groups_exactly():
    # Σ_g w_g y_g has, over members, the mean Σ y and the variance 16/15 Σ (y - mean)²: that of 16 random groups.
    y = np.random.default_rng(3).normal(size=GROUPS)
    sums = halves() @ y
    assert sums.mean() == pytest.approx(y.sum(), rel=1e-12)
    assert sums.var() == pytest.approx(GROUPS / (GROUPS - 1) * ((y - y.mean()) ** 2).sum(), rel=1e-12)


def row(reward: int) -> Statistics:
    return Statistics(0, contributions(np.zeros((1, 0), np.int16), [reward]))


def test_groups_add_up_to_the_sums_and_what_is_known_beforehand_is_in_none_of_them():
    prior = ArmPrior(0.5, 10.0, 0.25)
    rows = [(1.0, 1.0, group_name(3), row(5)), (1.0, 1.0, group_name(3), row(7)), (0.5, 0.25, group_name(9), row(8))]
    whole = weigh([(1.0, row(5)), (1.0, row(7)), (0.5, row(8))], 0, 15, prior)
    known = weigh_groups(rows, whole, 0, 15, prior)
    assert known.n == whole.n
    assert [(known.groups[g].n, known.groups[g].reward_sum) for g in (0, 3, 9)] == [(0, 0), (2, 12), (0.125, 4.0)]
    assert known.before.n == 10.0
    assert known.is_same(weigh_groups(rows, whole, 0, 15, prior))
    assert not known.is_same(weigh_groups(rows[1:], whole, 0, 15, prior))
    assert not known.is_same(weigh_groups(rows, whole, 0, 15))
