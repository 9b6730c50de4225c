"""The estimators: each decision's part of a policy's value.

With weight w = π(a|x) / p, reward r, prediction q(x, a) and value v(x) = Σ π(a|x) q(x, a):

    IPS          mean of w r                          Horvitz & Thompson 1952
    SNIPS        Σ w r / Σ w                          Swaminathan & Joachims 2015, equation 9
    clipped IPS  mean of min(w, M) r                  Ionides 2008
    DM           mean of v
    DR           mean of v + w (r - q)                Dudík, Langford & Li 2011, equation 3
    Switch-DR    mean of v + 1[w <= τ] w (r - q)      Wang, Agarwal & Dudík 2017, section 3

Every one is a ratio of two means, the lower one 1 but for SNIPS.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pipeline.models.model import Floats


class Terms(NamedTuple):
    """What the estimators are made of; (N,) each."""

    reward: Floats
    weight: Floats
    """How much likelier the target shows the arm than the log did."""
    predicted: Floats
    """q of the arm shown."""
    value: Floats
    """v: what the target is predicted to earn."""


class Parts(NamedTuple):
    """One estimator's parts; (N,) each."""

    name: str
    numerator: Floats
    denominator: Floats | None
    """None: all 1."""
    width: float | None
    """Largest difference of two parts of the numerator, for Bernstein's bound; None where it can't be said."""

    @property
    def estimate(self) -> float:
        """The value."""
        below = 1.0 if self.denominator is None else float(self.denominator.mean())
        return float(self.numerator.mean()) / below if below else float("nan")

    @property
    def standard_error(self) -> float:
        """The value's standard error; that of a ratio by the delta method."""
        if self.denominator is None:
            rest, below = self.numerator - self.numerator.mean(), 1.0
        else:
            rest, below = self.numerator - self.estimate * self.denominator, float(self.denominator.mean())
        n = len(rest)
        return float(np.sqrt((rest @ rest) / max(n - 1, 1) / n)) / below if below else float("nan")


def all_parts(terms: Terms, *, clip: float, bounds: tuple[float, float], weight_bound: float) -> list[Parts]:
    """Return every estimator's parts.

    Args:
        terms: of each decision.
        clip: M and τ.
        bounds: smallest and largest reward.
        weight_bound: no decision's weight could have been larger.
    """
    r, w, q, v = terms
    low, high = bounds
    span = max(high, 0.0) - min(low, 0.0)  # a weight may be 0
    reach = high - low
    kept = np.where(w <= clip, w, 0.0)
    clipped_bound = min(weight_bound, clip)
    return [
        Parts("IPS", w * r, None, weight_bound * span),
        Parts("SNIPS", w * r, w, None),
        Parts("clipped IPS", np.minimum(w, clip) * r, None, clipped_bound * span),
        Parts("DM", v, None, None),
        # v in [low, high], r - q within ±reach
        Parts("DR", v + w * (r - q), None, reach * (1.0 + 2.0 * weight_bound)),
        Parts("Switch-DR", v + kept * (r - q), None, reach * (1.0 + 2.0 * clipped_bound)),
    ]
