from __future__ import annotations

import numpy as np
import pytest

from pipeline.models import model_for
from pipeline.models.algorithms.beta_thompson import BetaThompson
from pipeline.models.algorithms.hierarchical_thompson import lent
from pipeline.models.grid import Grid
from pipeline.models.model import posteriors
from pipeline.models.sums.statistics import Statistics

ONE = 2**15
GRID = Grid(15)
MODEL = model_for("hierarchical_thompson", {})


def row(n: int, successes: int) -> Statistics:
    return Statistics(0, np.array([n, successes * ONE, successes * ONE * ONE], np.int64))


def weight_of(n: list[float], successes: list[float], most: float = 1e6) -> float:
    """Return what a last segment, which is new, borrows in all."""
    own = np.array([[*successes, 0.0]]).T, np.array([[*(np.array(n) - successes), 0.0]]).T
    return sum(part[-1, 0] for part in lent(*own, most))


def test_a_segment_alone_learns_as_plain_thompson_does():
    rows = [row(100, 20), row(50, 3), row(0, 0)]
    plain = BetaThompson(1.0, 1.0).posterior(rows, GRID)
    assert MODEL.posterior(rows, GRID).to_bytes() == plain.to_bytes()


def test_a_new_segment_begins_with_the_mean_of_the_others():
    segments = [[row(1000, 100)], [row(1000, 110)], [row(0, 0)]]
    *_, new = posteriors(MODEL, segments, GRID)
    # 210 of 2,000, shrunk to 100 decisions, on top of one success and one failure.
    assert new.parameters["alpha"].tolist() == [pytest.approx(1 + 10.5)]
    assert new.parameters["beta"].tolist() == [pytest.approx(1 + 89.5)]


def test_segments_that_differ_lend_little():
    segments = [[row(1000, 50)], [row(1000, 500)], [row(1000, 900)], [row(0, 0)]]
    *_, new = posteriors(MODEL, segments, GRID)
    assert new.parameters["alpha"] + new.parameters["beta"] < 2 + 3


def test_what_a_segment_saw_itself_is_not_lent_to_it():
    segments = [[row(10, 9)], [row(1000, 100)], [row(1000, 105)]]
    first, *_ = posteriors(MODEL, segments, GRID)
    others = (first.parameters["alpha"][0] - 1 - 9) / (first.parameters["alpha"][0] + first.parameters["beta"][0] - 12)
    assert others == pytest.approx(205 / 2000)


def test_no_more_is_lent_than_was_seen():
    segments = [[row(3, 1)], [row(3, 1)], [row(0, 0)]]
    *_, new = posteriors(MODEL, segments, GRID)
    assert (new.parameters["alpha"] + new.parameters["beta"]).tolist() == [pytest.approx(2 + 6)]


@pytest.mark.parametrize("strength", [2.0, 10.0, 60.0])
def test_the_weight_is_the_strength_of_the_distribution_that_means_are_drawn_from(strength):
    # 400 segments of 200 decisions, means from Beta(0.3 s, 0.7 s): ρ = 1/(s + 1), so 1/ρ - 1 = s.
    rng = np.random.default_rng(17)
    n = np.full(400, 200.0)
    successes = rng.binomial(200, rng.beta(0.3 * strength, 0.7 * strength, 400)).astype(float)
    # A variance of 400 has a standard error of sqrt(2/400) = 7 %; the weight follows it about in proportion.
    assert weight_of(n.tolist(), successes.tolist()) == pytest.approx(strength, rel=0.3)


def test_the_order_of_segments_does_not_matter():
    segments = [[row(1000, 100)], [row(40, 11)], [row(7, 0)]]
    forward, backward = posteriors(MODEL, segments, GRID), posteriors(MODEL, segments[::-1], GRID)[::-1]
    for one, other in zip(forward, backward, strict=True):
        for name, array in one.parameters.items():
            np.testing.assert_allclose(other.parameters[name], array, rtol=1e-12)


@pytest.mark.parametrize("successes", [0, 20])
def test_segments_that_all_fail_or_all_succeed_are_no_trouble(successes):
    for posterior in posteriors(MODEL, [[row(20, successes)], [row(20, successes)], [row(0, 0)]], GRID):
        assert all(np.isfinite(array).all() for array in posterior.parameters.values())
