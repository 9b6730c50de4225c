"""Arm probabilities in many contexts at once: what `Model.probabilities` gives for each, to 1e-6.

For linear and logistic Thompson sampling all contexts are one pass of array operations: most of the time of one context
alone, for a few dozen arms, is the cost of calling numpy. Rows that `trapezoid.py` does not cover (arms of very unequal
width, a standard deviation of 0, numbers that are no numbers) and other models are asked one by one.
"""

from __future__ import annotations

import numpy as np

from pipeline.models.algorithms.linear_thompson import LinearThompson
from pipeline.models.algorithms.logistic_thompson import LogisticThompson
from pipeline.models.chances.trapezoid import normal_best
from pipeline.models.model import Floats, Model, Posterior


def probabilities_many(model: Model, posterior: Posterior, contexts: Floats) -> Floats:
    """Return each arm's chance to be chosen in each of the contexts (m, d): (m, K), before the floor.

    A row is NaN where the model has no answer.
    """
    if not isinstance(model, LinearThompson | LogisticThompson):
        return np.array([_one(model, posterior, context) for context in contexts])
    theta, covariance = posterior.parameters["theta"], posterior.parameters["covariance"]
    mean = contexts @ theta.T
    squares = (contexts[:, :, None] * contexts[:, None, :]).reshape(len(contexts), -1)
    variance = squares @ covariance.reshape(len(covariance), -1).T  # xᵀCx = Σ C_ij x_i x_j
    chances = normal_best(mean, model.v * np.sqrt(np.maximum(variance, 0.0)))
    for row in np.isnan(chances[:, 0]).nonzero()[0]:
        chances[row] = _one(model, posterior, contexts[row])
    return chances


def _one(model: Model, posterior: Posterior, context: Floats) -> Floats:
    try:
        return model.probabilities(posterior, context)
    except ValueError:
        return np.full(posterior.arm_count, np.nan)
