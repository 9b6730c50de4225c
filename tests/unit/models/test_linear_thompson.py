from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from pipeline.models.algorithms.linear_thompson import LinearThompson
from pipeline.models.model import Posterior

TWO_ARMS = Posterior({"theta": np.array([[1.0], [2.0]]), "covariance": np.array([[[4.0]], [[9.0]]])})
X = np.array([0.5])
# In the context 1/2 the arms' indices are N(0.5, v² 4/4) and N(1, v² 9/4).


@pytest.mark.parametrize("v", [0.1, 1.0, 10.0])
def test_of_two_arms_the_better_is_drawn_as_often_as_its_index_is_larger(v):
    # The difference is N(0.5, v² (1 + 9/4)).
    second = norm.cdf(0.5 / (v * np.sqrt(3.25)))
    assert LinearThompson(ridge=1.0, v=v).probabilities(TWO_ARMS, X) == pytest.approx([1 - second, second], abs=1e-8)


def test_the_interval_is_the_central_95_percent_of_the_index():
    mean, low, high = LinearThompson(ridge=1.0, v=2.0).estimates(TWO_ARMS, X)
    assert mean.tolist() == [0.5, 1.0]
    np.testing.assert_allclose(low, norm.ppf(0.025, mean, [2.0, 3.0]), rtol=1e-12)
    np.testing.assert_allclose(high, norm.ppf(0.975, mean, [2.0, 3.0]), rtol=1e-12)


def test_in_the_zero_context_all_arms_are_alike():
    assert LinearThompson(ridge=1.0, v=1.0).probabilities(TWO_ARMS, np.zeros(1)).tolist() == [0.5, 0.5]
