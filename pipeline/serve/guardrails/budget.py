"""Weights that spend only what is left of a budget. Pure.

With B the amount, x what the window's decisions have cost and σ the soft part, costly arms keep the fraction
f = (B - x) / (σ B) of their weight and of their floor, within [0, 1]; what they lose goes to the cheapest arms on
offer. So a budget has a last stretch over which its arms become rarer, rather than an end.

x is known from the snapshot, so it lacks what was decided and is not reported yet. Say that at the full rate the
unreported decisions cost u. Spending then follows x'(t) = r f(x(t - L)), which does not pass B while
u = r L <= σ B / e (no oscillation: Győri & Ladas 1991, theorem 2.2.3), and passes it by at most u otherwise.
"""

from __future__ import annotations

import numpy as np

from pipeline.models.model import Floats


def affordable(amount: float, soft: float, spent: float) -> float:
    """Return f, the fraction of their weight that costly arms keep.

    >>> [affordable(100.0, 0.2, spent) for spent in (0.0, 80.0, 90.0, 100.0, 110.0)]
    [1.0, 1.0, 0.5, 0.0, 0.0]
    """
    return min(1.0, max(0.0, (amount - spent) / (soft * amount)))


def afford(weights: Floats, floors: Floats, costs: Floats, fraction: float) -> tuple[Floats, Floats]:
    """Return weights and floors of which arms above the least cost on offer keep a fraction.

    A distribution stays one; floors of the cheapest arms stay, those of the others keep the fraction.
    """
    is_cheapest = costs == costs.min()
    kept = np.where(is_cheapest, weights, fraction * weights)
    ours = np.where(is_cheapest, weights, 0.0)
    total = ours.sum()
    freed = max(weights.sum() - kept.sum(), 0.0)
    # Where the cheapest have no weight to be proportional to, they share alike.
    kept += freed * (ours / total if total > 0.0 else is_cheapest / is_cheapest.sum())
    return kept, np.where(is_cheapest, floors, fraction * floors)
