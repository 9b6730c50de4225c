from __future__ import annotations

import numpy as np
import pytest

from pipeline.models.chances.quadrature import NODES, chances, panels, panels_by_scale


def test_panels_cover_the_way_to_the_last_end_without_gaps():
    ends, scales = np.array([3.0, 0.01, 40.0]), np.array([0.5, 0.001, 4.0])
    widths, points = panels_by_scale(ends, scales)
    left = np.concatenate(([0.0], widths.cumsum()[:-1]))
    assert widths.sum() == pytest.approx(40.0, rel=1e-12)
    assert (points > left[:, None]).all()
    assert (points < (left + widths)[:, None]).all()


def test_no_panel_is_wider_than_the_scale_of_an_arm_that_ends_beyond_it():
    rng = np.random.default_rng(2)
    ends = 10.0 ** rng.uniform(-3, 1, 20)
    scales = ends / rng.uniform(1, 13, 20)
    widths, _ = panels_by_scale(ends, scales)
    right = widths.cumsum()
    for end, scale in zip(ends, scales, strict=True):
        assert (widths[right <= end] <= scale * (1 + 1e-9)).all()


def test_the_smallest_scale_that_is_still_ahead_rules():
    # The narrow arm rules up to its end at 0.0013 in 13 panels, then the wide one in 12.9987, rounded up together.
    widths, _ = panels_by_scale(np.array([13.0, 0.0013]), np.array([1.0, 0.0001]))
    assert len(widths) == 26
    # The arm that ends first is the wider one: 2 / 0.2.
    widths, _ = panels_by_scale(np.array([1.0, 2.0]), np.array([1.0, 0.2]))
    assert len(widths) == 10


def test_arms_with_equal_ends_need_no_panels_between_them():
    widths, _ = panels_by_scale(np.array([2.0, 2.0, 2.0]), np.array([1.0, 1.0, 1.0]))
    assert widths.tolist() == [1.0, 1.0]


def test_few_panels_are_laid_evenly_and_none_is_wider_than_the_finest_scale():
    widths, points = panels(np.array([13.0, 9.0]), np.array([1.0, 0.75]))
    # 13 / 0.75 = 17.3
    assert widths is None
    np.testing.assert_allclose(points.mean(axis=1), (np.arange(18) + 0.5) * 13 / 18, rtol=1e-12)
    assert points.min() > 0.0
    assert points.max() < 13.0


def test_many_are_laid_by_scale_and_so_are_those_of_many_arms():
    assert panels(np.full(65, 2.0), np.ones(65)).widths is not None
    assert panels(np.full(64, 2.0), np.ones(64)).widths is None
    widths, _ = panels(np.array([13.0, 0.0013]), np.array([1.0, 0.0001]))
    assert widths is not None
    assert len(widths) == 26


@pytest.mark.parametrize("ratio", [0.001, 1.0, 31.99, 32.0, 32.01])
def test_both_ways_of_laying_panels_give_the_same_chances(ratio):
    ends, scales = np.array([ratio, ratio]), np.array([1.0, 1.0])
    by = []
    for lay in (panels, panels_by_scale):
        widths, points = lay(ends, scales)
        density = np.stack((np.exp(-points / ratio), points), axis=2)
        by.append(chances(density, widths, below=np.array([0.1, 0.2]), above=np.array([0.9, 0.8])))
    np.testing.assert_allclose(by[0], by[1], rtol=1e-9)


def test_polynomial_densities_are_integrated_exactly_and_to_scale():
    # On (0, 1), densities 1 and 2t:  P_0 = ∫ t² dt = 1/3,  P_1 = ∫ 2t t dt = 2/3, whatever factor they come with.
    widths, points = panels(np.array([1.0, 1.0]), np.array([1.0, 1.0]))
    density = np.stack((np.full((1, NODES), 7.0), 2 * points * 0.1), axis=2)
    best = chances(density, widths, below=np.zeros(2), above=np.ones(2))
    np.testing.assert_allclose(best, [1 / 3, 2 / 3], rtol=1e-13)


def test_the_mass_below_is_part_of_every_distribution_function():
    # Each arm is at 0 with chance 1/2, else uniform on (0, 1): above 0, P = ∫ ½ (½ + t/2) dt = 3/8 each.
    widths, _ = panels(np.array([1.0, 1.0]), np.array([0.25, 0.25]))
    best = chances(np.ones((4, NODES, 2)), widths, below=np.full(2, 0.5), above=np.full(2, 0.5))
    np.testing.assert_allclose(best, 3 / 8, rtol=1e-13)
