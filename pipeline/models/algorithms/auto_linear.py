"""What `auto` is where there is a context: LinUCB without a number to choose.

Features are standardised, rewards centred, noise and ridge measured over all arms (`regressions/standardised.py`). The
index of Li, Chu, Langford & Schapire 2010, algorithm 1, then has units of its own:

    index_k = θ_kᵀx̃ + sqrt((σ² + V (n_k + 1)^-1.5) x̃ᵀ P_k x̃)      V = (high - low)² / 4

The part of V is what few rewards may not have shown yet: without it rare large ones are never found. The index is
spread over the decisions to come (`chances/lookahead.py`), so that a snapshot may serve many.

Rewards times c and plus d, features stretched, arms and features permuted: the same probabilities, to the grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pipeline.models.chances.lookahead import spread_ahead
from pipeline.models.grid import Grid
from pipeline.models.model import NORMAL_975, AlgorithmInfo, Estimates, Floats, Posterior, Sums
from pipeline.models.regressions.empirical import unshown
from pipeline.models.regressions.linear import predict
from pipeline.models.regressions.standardised import standardised_posterior

AHEAD = 2.0
"""Decisions that an index is spread over: others come in other contexts, which are spread by that alone."""


@dataclass(frozen=True)
class AutoLinear:
    """See the module."""

    name: ClassVar[str] = "auto_linear"

    def posterior(self, statistics: Sequence[Sums], grid: Grid) -> Posterior:
        """Return theta (K, d), covariance (K, d, d) without the noise, deviation (K,); noise and ridge of all."""
        derived = standardised_posterior(statistics, grid)
        low, high = grid.range
        unseen = (high - low) ** 2 / 4.0 * unshown(derived.n)
        return Posterior(
            {
                "theta": derived.theta,
                "covariance": derived.covariance,
                "deviation": np.sqrt(derived.noise * derived.noise + unseen),
            },
            {"noise": np.array([derived.noise]), "ridge": np.array([derived.ridge])},
        )

    def probabilities(self, posterior: Posterior, context: Floats | None) -> Floats:
        """Return which part of the next decisions in this context each arm would have."""
        mean, width = predict(posterior, context)
        return spread_ahead(mean, posterior.parameters["deviation"], width * width, AHEAD)

    def measured(self, posterior: Posterior) -> str:
        """See `Measures`."""
        noise, ridge = float(posterior.shared["noise"][0]), float(posterior.shared["ridge"][0])
        return f"noise {noise:.3g} measured, ridge {ridge:.3g} by evidence, features standardised"

    def estimates(self, posterior: Posterior, context: Floats | None) -> Estimates:
        """Return θ̂ᵀx ± 1.96 standard errors, by the measured noise."""
        mean, width = predict(posterior, context)
        reach = NORMAL_975 * posterior.parameters["deviation"] * width
        return Estimates(mean, mean - reach, mean + reach)


WORDS = "an upper bound of each arm's regression, features, noise and ridge measured"

INFO = AlgorithmInfo(
    parameters={},
    needs_context=True,
    needs_unit_reward=False,
    build=AutoLinear,
    pools=True,
    goes_by_bounds=True,
    words=WORDS,
)
