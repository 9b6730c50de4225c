from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.models.grid import (
    BLOCK_ROWS,
    FEATURE_BITS,
    FEATURE_LIMIT,
    MAX_ROWS,
    REWARD_LIMIT,
    feature_to_grid,
    features_from_grid,
    reward_exponent,
    reward_from_grid,
    reward_to_grid,
)

finite = st.floats(allow_nan=False, allow_infinity=False)


def test_every_sum_of_max_rows_fits_an_int64_and_one_row_more_would_not():
    largest_product = max(2**15 * 2**15, REWARD_LIMIT * 2**15, REWARD_LIMIT**2)
    assert MAX_ROWS * largest_product <= np.iinfo(np.int64).max < (MAX_ROWS + 1) * largest_product


def test_every_partial_sum_of_a_block_is_a_float64_integer():
    largest_weighted_product = max(1 * 2**15 * 2**15, 2 * REWARD_LIMIT * 2**15, REWARD_LIMIT**2)
    assert BLOCK_ROWS * largest_weighted_product <= 2**53


@given(finite, finite)
def test_the_exponent_is_the_largest_that_keeps_the_bounds_on_the_grid(one, other):
    low, high = sorted((one, other))
    if low == high == 0:
        return
    largest = Fraction(max(abs(low), abs(high)))
    exponent = reward_exponent(low, high)
    assert largest * Fraction(2) ** exponent <= REWARD_LIMIT < largest * Fraction(2) ** (exponent + 1)


@pytest.mark.parametrize(
    ("low", "high", "exponent"),
    [
        (0.0, 1.0, 15),  # 1 * 2**15 = 2**15
        (-1.0, 0.5, 15),
        (0.0, 1.0001, 14),  # 1.0001 * 2**15 > 2**15
        (0.0, 0.5, 16),
        (-500.0, 20.0, 6),  # 500 * 2**6 = 32,000 <= 32,768 < 64,000
        (0.0, 65536.0, -1),  # 2**16 * 2**-1 = 2**15
    ],
)
def test_the_exponent_follows_from_the_larger_bound(low, high, exponent):
    assert reward_exponent(low, high) == exponent


@pytest.mark.parametrize(
    ("low", "high"), [(0.0, 0.0), (0.0, math.inf), (-math.inf, 0.0), (math.nan, 1.0), (0.0, math.nan), (1.0, 0.0)]
)
def test_bounds_that_bound_nothing_are_refused(low, high):
    with pytest.raises(ValueError, match="reward bounds must"):
        reward_exponent(low, high)


@given(finite, finite, st.floats(0, 1))
def test_a_reward_within_its_bounds_is_always_on_the_grid_and_at_most_half_a_step_off(one, other, where):
    low, high = sorted((one, other))
    if low == high == 0:
        return
    value = min(max(low * (1 - where) + high * where, low), high)
    exponent = reward_exponent(low, high)
    on_grid = reward_to_grid(value, exponent)
    assert abs(on_grid) <= REWARD_LIMIT
    assert abs(on_grid - Fraction(value) * Fraction(2) ** exponent) <= Fraction(1, 2)


def test_halves_go_to_the_even_neighbour():
    # Exponent 1 makes steps of 1/2, so quarters lie half-way.
    assert [reward_to_grid(value, 1) for value in (0.25, 0.75, 1.25, -0.25, -0.75)] == [0, 2, 2, 0, -2]


def test_features_come_back_as_the_nearest_multiple_of_a_4096th():
    # 0.1 * 4096 = 409.6; half a step, 0.5/4096, goes to 0, and 1.5/4096 to 2
    assert [feature_to_grid(value) for value in (0.1, 0.5 / 4096, 1.5 / 4096, -1.0)] == [410, 0, 2, -4096]
    assert features_from_grid(np.array([410, -4096], np.int16)).tolist() == [410 / 4096, -1.0]


def test_the_feature_limit_is_the_same_on_both_sides():
    edge = FEATURE_LIMIT / 2**FEATURE_BITS
    assert (feature_to_grid(edge), feature_to_grid(-edge)) == (FEATURE_LIMIT, -FEATURE_LIMIT)


@pytest.mark.parametrize("value", [8.0, -8.0, 1e300, math.inf, -math.inf, math.nan])
def test_a_feature_off_the_grid_is_refused(value):
    with pytest.raises(ValueError, match=r"feature .* lies outside"):
        feature_to_grid(value)


@pytest.mark.parametrize("value", [1.0001, -1.0001, 1e300, math.inf, math.nan])
def test_a_reward_off_the_grid_is_refused(value):
    with pytest.raises(ValueError, match=r"reward .* lies outside"):
        reward_to_grid(value, 15)


def test_a_reward_on_the_grid_comes_back_exactly():
    assert reward_from_grid(reward_to_grid(0.375, 15), 15) == 0.375
    assert reward_from_grid(reward_to_grid(65536.0, -1), -1) == 65536.0
