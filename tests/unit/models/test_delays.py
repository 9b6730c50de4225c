"""How late outcomes come: the grid, the life table, and what it leaves of a bucket."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from pipeline.models.sums.delays import (
    COLUMNS,
    EDGES_MS,
    column_for,
    columns_for,
    estimate,
    even_prior,
    exposures,
    weights,
)

DAY_MS = 86_400_000
WHOLE = 2**20
"""An exposure of 1."""


def test_every_delay_up_to_thirty_days_has_a_column_and_a_window_ends_its_last():
    assert COLUMNS == 44
    assert [column_for(delay_ms, 30 * DAY_MS) for delay_ms in (0, *EDGES_MS)] == list(range(COLUMNS))
    assert column_for(30 * DAY_MS, 30 * DAY_MS) == COLUMNS - 1
    # A window of 3 s has [0, 1), [1, 1.5), [1.5, 2), [2, 3]: what comes at its very end is in the last.
    assert (columns_for(3_000), column_for(3_000, 3_000)) == (4, 3)


def test_decisions_of_one_age_have_lived_through_the_columns_before_it():
    at = np.array([-5, 0, 1_250, 9_999])
    seen = exposures(at, at + 0, 3_000)  # a spread of nothing
    assert not seen.any(), "an age that is no stretch of time has no mean; it is taken over 1 ms at least"
    seen = exposures(np.array([1_999]), np.array([2_001]), 3_000)[0]
    # From 1,999 to 2,001 ms: of the last column, [2 s, 3 s], half of the group has lived through 0.5 ms on the mean.
    assert seen.tolist() == [WHOLE, WHOLE, round(WHOLE * (1 - 0.25 / 500)), round(WHOLE * 0.25 / 1_000)]


def test_a_bucket_s_ages_are_spread_evenly():
    # From 0 to 1 s of age, of a column of 1 s: half of it on the mean.
    assert exposures(np.array([0]), np.array([1_000]), 1_000).tolist() == [[WHOLE // 2]]
    # Half of the group is yet to come, so has age 0 (its ages are counted from the oldest): the same as from 0 to 500.
    assert (
        exposures(np.array([-500]), np.array([500]), 1_000) == exposures(np.array([0]), np.array([500]), 1_000)
    ).all()


def test_without_a_prior_it_is_kaplan_and_meier_s_estimate():
    """Against scipy's, on decisions of many ages, where each has lived through whole columns."""
    rng = np.random.default_rng(5)
    window_ms, columns = 10 * DAY_MS, columns_for(10 * DAY_MS)
    edges = np.array((*EDGES_MS[: columns - 1], window_ms))
    ages = rng.integers(5, columns + 1, 400)  # lived through so many columns
    delays = np.where(rng.random(400) < 0.6, rng.integers(0, columns, 400), 10**6)
    seen = delays < ages
    came = np.zeros((400, columns), np.int64)
    came[np.flatnonzero(seen), delays[seen]] = 1
    exposed = (np.arange(columns) < ages[:, None]) * WHOLE
    found = estimate(np.ones(400, np.int64), came, exposed, np.zeros(columns), 0.0)
    # An event in column j happens at j + 1; what has lived through so many columns is censored there, after events.
    data = stats.CensoredData.right_censored(np.where(seen, delays + 1, ages), ~seen)
    survival = stats.ecdf(data).sf.evaluate(np.arange(1, columns + 1))
    assert len(edges) == columns
    assert found.chance * found.increments.cumsum() == pytest.approx(1.0 - survival, rel=1e-9)
    assert found.increments.sum() == pytest.approx(1.0)


def test_with_nothing_seen_the_prior_decides_and_with_much_it_does_not():
    prior = even_prior(3_000)
    nothing = np.zeros((1, 4), np.int64)
    assert estimate(np.zeros(1, np.int64), nothing, nothing, prior, 10.0).increments == pytest.approx(prior)
    # 100,000 decisions, all closed; of 10,000 it came in the first column.
    much = np.array([[10_000, 0, 0, 0]])
    found = estimate(np.array([100_000]), much, np.full((1, 4), WHOLE), prior, 10.0)
    assert found.increments[0] == pytest.approx(1.0, abs=2e-3)
    assert found.chance == pytest.approx(0.1, abs=2e-3)


def test_what_is_still_open_is_no_failure():
    """Half of what comes, comes in the last second; of decisions of 2 s of age only the first half has come."""
    # Of 10,000 old decisions 500 came in [0, 1 s) and 500 in [2 s, 3 s]; of 10,000 young ones 500 in [0, 1 s).
    came = np.array([[500, 0, 0, 500], [500, 0, 0, 0]])
    exposed = np.array([[WHOLE] * 4, [WHOLE, WHOLE, WHOLE, 0]])
    found = estimate(np.array([10_000, 10_000]), came, exposed, even_prior(3_000), 1e-6)
    assert found.increments == pytest.approx([0.5, 0.0, 0.0, 0.5], abs=1e-3)
    # So young decisions count half, and 500 of 5,000 is 0.1, as it is of the old: 1,000 of 10,000.
    assert weights(found.increments, exposed) == pytest.approx([1.0, 0.5], abs=1e-3)


def test_weights_are_on_a_grid_and_rise_with_age():
    increments = even_prior(30 * DAY_MS)
    oldest = np.arange(0, 40 * DAY_MS, 6 * 3_600_000)
    found = weights(increments, exposures(oldest - 3_600_000, oldest, 30 * DAY_MS))
    assert (np.diff(found) >= 0).all()
    assert found[-1] == 1.0
    assert (found * 2**30 == np.rint(found * 2**30)).all()


def test_where_everything_came_before_a_column_nobody_is_at_risk_in_it():
    # One decision, of which it came in the first column; and a prior that knows of no later column either.
    prior = np.array([1.0, 0.0, 0.0, 0.0])
    found = estimate(np.array([1]), np.array([[1, 0, 0, 0]]), np.full((1, 4), WHOLE), prior, 5.0)
    assert found.increments.tolist() == [1.0, 0.0, 0.0, 0.0]


def test_beyond_the_oldest_age_an_arm_goes_on_as_it_went_lately():
    # A million decisions that have lived through the first two columns; arms in general have 40 % in the first column
    # and 20 % in each of the others, and this one had 60,000 and 10,000 in its first two.
    prior = np.array([0.4, 0.2, 0.2, 0.2])
    arm = np.array([1_000_000]), np.array([[60_000, 10_000, 0, 0]]), np.array([[WHOLE, WHOLE, 0, 0]])
    # It has had 70,000 of the 60 % that should have come by then, so 0.1167 of all would come. The prior expects
    # 0.4 * 0.1167 of the first column's million, 46,667, and 0.2 * 0.1167 / (1 - 0.4 * 0.1167) of the 940,000 left,
    # 23,007. With the first column counting 0.7: (0.7 * 60,000 + 10,000) / (0.7 * 46,667 + 23,007) = 0.934.
    plain = estimate(*arm, prior, 5.0)
    assert plain.increments * plain.chance == pytest.approx([0.06, 0.01, 0.2 * 0.1167, 0.2 * 0.1167], abs=3e-5)
    found = estimate(*arm, prior, 5.0, goes_on=True)
    # Less of the prior's decisions are left by then, as the first column came 1.286 times as often: 7.9143 for 7.9714.
    tail = 0.934 * 0.2 * 0.1167 * 7.9714 / 7.9143
    assert found.increments * found.chance == pytest.approx([0.06, 0.01, tail, tail], abs=3e-5)


def test_who_has_had_most_of_it_early_is_thought_to_have_a_shorter_tail():
    prior, exposed = np.full(4, 0.25), np.array([[WHOLE, WHOLE, WHOLE, 0]])

    def tail(*came: int) -> float:
        found = estimate(np.array([100_000]), np.array([[*came, 0]]), exposed, prior, 5.0, goes_on=True)
        return float(found.increments[3])

    assert tail(7_000, 1_000, 1_000) < tail(3_000, 3_000, 3_000) < tail(1_000, 1_000, 7_000)
    # Without a hint of another course it is the prior's quarter.
    assert tail(3_000, 3_000, 3_000) == pytest.approx(0.25, abs=0.01)
