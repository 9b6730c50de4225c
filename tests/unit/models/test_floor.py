from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.models.chances.floor import (
    apply_floor,
    apply_floors,
    check_distribution,
    draw,
    falling_floors,
    fit_floors,
)


def test_the_floor_is_given_first_and_the_rest_follows_the_weights():
    # K = 4, floor 0.05: 0.05 + 0.8 w
    p = apply_floor(np.array([1.0, 0.0, 0.0, 0.0]), 0.05)
    np.testing.assert_allclose(p, [0.85, 0.05, 0.05, 0.05], rtol=1e-15)


def test_no_floor_leaves_the_weights():
    assert apply_floor(np.array([0.25, 0.75]), 0.0).tolist() == [0.25, 0.75]


@pytest.mark.parametrize("count", range(1, 200))
def test_the_largest_floor_makes_all_arms_equal(count):
    weights = np.zeros(count)
    weights[0] = 1.0
    np.testing.assert_allclose(apply_floor(weights, 1 / count), 1 / count, rtol=1e-12)


@pytest.mark.parametrize("floor", [0.34, 1.0, -0.01, np.nan])
def test_a_floor_that_three_arms_cannot_have_is_refused(floor):
    with pytest.raises(ValueError, match="the floor of 3 arms"):
        apply_floor(np.full(3, 1 / 3), floor)


@given(
    st.floats(0.0, 1.0, exclude_max=True),
    st.lists(st.integers(0, 10**9), min_size=1, max_size=1_000),
)
def test_a_share_is_never_exceeded_and_bounds_the_weights_of_an_evaluation(share, tried):
    floors = falling_floors(share, np.array(tried, np.float64))
    assert floors.sum() <= share * (1 + 1e-9)
    if share > 1e-3:
        # 1 / propensity is at most 10 K / share.
        assert (1.0 / floors).max() <= 10 * len(tried) / share * (1 + 1e-9)


def test_a_share_falls_as_an_arm_is_tried_and_an_arm_nobody_knows_has_all_of_its_part():
    floors = falling_floors(0.05, np.array([0, 5, 10, 50, 10_000]))
    # A fifth of 0.05 for each, of which 5/n are left from five decisions on, and a tenth from fifty.
    np.testing.assert_allclose(floors, [0.01, 0.01, 0.005, 0.001, 0.001], rtol=1e-12)


def test_an_arm_owns_its_stretch_of_the_cumulative_sum():
    p = np.array([0.25, 0.5, 0.25])
    below_one = np.nextafter(1.0, 0.0)
    assert [draw(p, u) for u in (0.0, 0.2499, 0.25, 0.7499, 0.75, below_one)] == [0, 0, 1, 1, 2, 2]


def test_arms_with_no_propensity_are_stepped_over_wherever_they_stand():
    p = np.array([0.0, 0.5, 0.0, 0.5, 0.0])
    assert [draw(p, u) for u in (0.0, 0.5, np.nextafter(1.0, 0.0))] == [1, 3, 3]


def test_a_sum_rounded_below_one_still_gives_an_arm_that_can_be_drawn():
    p = np.array([0.1] * 10 + [0.0])  # sums to 0.9999999999999999
    assert draw(p, np.nextafter(1.0, 0.0)) == 9


def test_nothing_can_be_drawn_where_no_arm_has_a_propensity():
    with pytest.raises(ValueError, match="no arm"):
        draw(np.zeros(3), 0.5)


@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=20).filter(lambda weights: sum(weights) > 1e-100),
    st.floats(0, 1, exclude_max=True),
)
def test_whatever_is_drawn_could_be_drawn(weights, u):
    p = np.array(weights) / sum(weights)
    assert p[draw(p, u)] > 0


def test_raised_floors_share_what_the_declared_ones_leave():
    # 0.4 is declared; 0.6 is left for a raise of 0.8.
    np.testing.assert_allclose(fit_floors(np.array([0.3, 0.1]), np.array([0.3, 0.9])), [0.3, 0.7])


def test_declared_floors_that_come_to_more_than_one_share_it():
    np.testing.assert_allclose(fit_floors(np.array([0.9, 0.3]), np.array([1.0, 1.0])), [0.75, 0.25])


@pytest.mark.parametrize("floors", [[0.6, 0.5], [-0.1, 0.2], [np.nan, 0.1]])
def test_floors_that_leave_less_than_nothing_are_refused(floors):
    with pytest.raises(ValueError, match="the floors of 2 arms"):
        apply_floors(np.array([0.5, 0.5]), np.array(floors))


@pytest.mark.parametrize("vector", [[0.5, 0.4], [1.1, -0.1], [float("nan"), 1.0], [float("inf"), 0.0]])
def test_what_is_no_distribution_is_refused(vector):
    with pytest.raises(ValueError, match="no distribution"):
        check_distribution(vector)
    check_distribution([0.5, 0.5])
