"""The estimators: each decision's part of a policy's value.

With weight w = π(a|x) / p, reward r, prediction q(x, a) and value v(x) = Σ π(a|x) q(x, a):

    IPS          mean of w r                          Horvitz & Thompson 1952
    SNIPS        Σ w r / Σ w                          Swaminathan & Joachims 2015, equation 9
    clipped IPS  mean of min(w, M) r                  Ionides 2008
    DM           mean of v
    DR           mean of v + w (r - q)                Dudík, Langford & Li 2011, equation 3
    Switch-DR    mean of v + 1[w <= τ] w (r - q)      Wang, Agarwal & Dudík 2017, section 3

Every one is a ratio of two sums, the lower one the number of decisions but for SNIPS. Parts are kept by decision, and
added up by subject where decisions have one: it is subjects that vary independently.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pipeline.evaluate.log import Indices
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
    """One estimator's parts; (n,) each, by decision or by subject."""

    name: str
    numerator: Floats
    denominator: Floats
    """1 each by decision, but for SNIPS."""
    width: float | None
    """Largest difference of two parts of the numerator, for Bernstein's bound; None where it can't be said."""
    least: tuple[float, float] = (0.0, 0.0)
    """Numerator and denominator of the decision that would lower the value most, had it earned the least seen."""
    most: tuple[float, float] = (0.0, 0.0)
    """The same for the highest reward seen, or where there was none, that there can be."""

    @property
    def estimate(self) -> float:
        """The value."""
        below = float(self.denominator.mean())
        return float(self.numerator.mean()) / below if below else float("nan")

    @property
    def standard_error(self) -> float:
        """The value's standard error, by the delta method."""
        below = float(self.denominator.mean())
        if not below:
            return float("nan")
        rest = self.numerator - self.estimate * self.denominator
        n = len(rest)
        return float(np.sqrt((rest @ rest) / max(n - 1, 1) / n)) / below

    def added_up(self, unit: Indices, count: int) -> Parts:
        """Return the parts by subject; `unit` is (n,) below `count`."""
        numerator, denominator = (
            np.bincount(unit, of, count).astype(np.float64) for of in (self.numerator, self.denominator)
        )
        # No subject's part can differ by more than all its decisions' together.
        width = None if self.width is None else self.width * float(np.bincount(unit, minlength=count).max())
        return self._replace(numerator=numerator, denominator=denominator, width=width)


def all_parts(terms: Terms, *, clip: float, bounds: tuple[float, float], weight_bound: float) -> list[Parts]:
    """Return every estimator's parts.

    Args:
        terms: of each decision.
        clip: M and τ.
        bounds: smallest and largest reward.
        weight_bound: no decision's weight could have been larger.
    """
    seen, one = terms.reward, np.ones(len(terms.reward))
    # What one decision more could do is told by rewards like those seen; where nothing was earned yet, by the bounds.
    low, high = (float(seen.min()), float(seen.max())) if seen.any() else bounds
    lowest, highest = (_numerators(terms._replace(reward=np.full_like(seen, end)), clip) for end in (low, high))
    numerators = _numerators(terms, clip)
    parts = []
    for name, width in _widths(clip, bounds, weight_bound).items():
        numerator, below = numerators[name], terms.weight if name == "SNIPS" else one
        value = Parts(name, numerator, below, width).estimate
        centre = value if np.isfinite(value) else 0.0
        least = int((lowest[name] - centre * below).argmin())
        most = int((highest[name] - centre * below).argmax())
        parts.append(
            Parts(
                name,
                numerator,
                below,
                width,
                (float(lowest[name][least]), float(below[least])),
                (float(highest[name][most]), float(below[most])),
            )
        )
    return parts


def _numerators(terms: Terms, clip: float) -> dict[str, Floats]:
    r, w, q, v = terms
    return {
        "IPS": w * r,
        "SNIPS": w * r,
        "clipped IPS": np.minimum(w, clip) * r,
        "DM": v,
        "DR": v + w * (r - q),
        "Switch-DR": v + np.where(w <= clip, w, 0.0) * (r - q),
    }


def _widths(clip: float, bounds: tuple[float, float], weight_bound: float) -> dict[str, float | None]:
    low, high = bounds
    span = max(high, 0.0) - min(low, 0.0)  # a weight may be 0
    reach = high - low
    clipped_bound = min(weight_bound, clip)
    return {
        "IPS": weight_bound * span,
        "SNIPS": None,
        "clipped IPS": clipped_bound * span,
        "DM": None,
        # v in [low, high], r - q within ±reach
        "DR": reach * (1.0 + 2.0 * weight_bound),
        "Switch-DR": reach * (1.0 + 2.0 * clipped_bound),
    }
