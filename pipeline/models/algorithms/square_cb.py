"""SquareCB: inverse-gap weighting on the linear mean (Abe & Long 1999; Foster & Rakhlin 2020, algorithm 1).

    w_a = 1 / (λ + γ (best - ŷ_a)),   γ = gamma sqrt(t),   λ in [1, K] such that they sum to 1

with ŷ_a = θ̂ᵀx of one ridge regression per arm and t decisions so far, of all arms that are asked for. (The normalised
form of Foster, Gentile, Mohri & Zimmert 2020: arms that all but tie share alike.) It explores by how much worse an arm
is thought to be and never by how uncertain, so it stays right where a posterior's width can't be trusted. gamma is
per reward unit; 10 is Vowpal Wabbit's default.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pipeline.models.grid import Grid
from pipeline.models.model import NORMAL_975, AlgorithmInfo, Estimates, Floats, Parameter, Posterior, Sums
from pipeline.models.regressions.linear import RIDGE, linear_posterior, measured_noise, predict

_STEPS = 30  # Newton's at the most; the first may gain only a half, the last few double the digits
_ENOUGH = 1e-12  # λ is 1 or more, and what is left is taken up by the last normalisation


@dataclass(frozen=True)
class SquareCb:
    """See the module."""

    name: ClassVar[str] = "square_cb"

    ridge: float
    """λ: how many observations of each feature at 1 the prior is worth."""
    gamma: float
    """How fast a gap costs an arm its share, per reward unit and root of decisions."""

    def posterior(self, statistics: Sequence[Sums], grid: Grid) -> Posterior:
        """Return theta (K, d), covariance (K, d, d) without the noise, noise (K,) in reward units, and n (K,)."""
        derived = linear_posterior(statistics, grid, self.ridge)
        noise = measured_noise(statistics, grid, derived)
        n = np.array([float(sums.n) for sums in statistics])
        return Posterior({"theta": derived.theta, "covariance": derived.covariance, "noise": noise, "n": n})

    def probabilities(self, posterior: Posterior, context: Floats | None) -> Floats:
        """Return the inverse-gap weights."""
        mean, _ = predict(posterior, context)
        gamma = self.gamma * math.sqrt(math.fsum(posterior.parameters["n"]))
        return inverse_gap_weights(gamma * (mean.max() - mean))

    def estimates(self, posterior: Posterior, context: Floats | None) -> Estimates:
        """Return θ̂ᵀx ± 1.96 standard errors, by the measured noise."""
        mean, width = predict(posterior, context)
        reach = NORMAL_975 * posterior.parameters["noise"] * width
        return Estimates(mean, mean - reach, mean + reach)


def inverse_gap_weights(gap: Floats) -> Floats:
    """Return 1 / (λ + gap), (K,), for gaps of 0 or more of which one is 0; λ is such that they sum to 1."""
    # Σ 1 / (λ + gap) falls and is convex, and at λ = 1 is 1 or more: Newton's steps rise to the root, never beyond.
    smooth = 1.0
    for _ in range(_STEPS):
        weights = 1.0 / (smooth + gap)
        step = (weights.sum() - 1.0) / (weights * weights).sum()
        if step <= _ENOUGH:
            break
        smooth += step
    exact: Floats = weights / weights.sum()
    return exact


INFO = AlgorithmInfo(
    parameters={
        "ridge": RIDGE,
        "gamma": Parameter(10.0, 1e-6, 1e9, "how fast a gap costs an arm its share, per reward unit"),
    },
    needs_context=True,
    needs_unit_reward=False,
    build=SquareCb,
)
