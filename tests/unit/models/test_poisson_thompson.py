from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import gamma

from pipeline.errors import StateError
from pipeline.models import model_for
from pipeline.models.grid import Grid
from pipeline.models.sums.statistics import Statistics, contributions

MODEL = model_for("poisson_thompson", {"prior_shape": 2.0, "prior_rate": 0.5})


def rewarded(rewards: list[int]) -> Statistics:
    return Statistics(0, contributions(np.zeros((len(rewards), 0), np.int16), rewards))


def test_events_and_decisions_are_counted_onto_the_prior():
    posterior = MODEL.posterior([rewarded([3 * 2**10, 0, 2**10]), rewarded([])], Grid(10))
    assert posterior.parameters["shape"].tolist() == [2 + 4, 2]
    assert posterior.parameters["rate"].tolist() == [0.5 + 3, 0.5]


def test_estimates_agree_with_scipy_stats():
    posterior = MODEL.posterior([rewarded([3 * 2**10, 0, 2**10]), rewarded([])], Grid(10))
    shape, rate = np.array([6.0, 2.0]), np.array([3.5, 0.5])
    mean, low, high = MODEL.estimates(posterior, None)
    np.testing.assert_allclose(mean, shape / rate, rtol=1e-12)
    np.testing.assert_allclose(low, gamma.ppf(0.025, shape, scale=1 / rate), rtol=1e-9)
    np.testing.assert_allclose(high, gamma.ppf(0.975, shape, scale=1 / rate), rtol=1e-9)


@pytest.mark.parametrize("row", [rewarded([-1]), Statistics.zero(0) - rewarded([0])])
def test_negative_counts_are_refused(row):
    with pytest.raises(StateError, match="must not be negative"):
        MODEL.posterior([row], Grid(10))
