"""Weights that no few arms have to themselves. Pure.

The effective number of arms is 1/Σw² (Simpson 1949; Hill's number of order 2): K for equal weights, 1 for a certain
arm. Mixing with the uniform, w' = (1 - t)/K + t w, gives Σw'² = 1/K + t² (Σw² - 1/K), so the largest t that keeps
1/Σw'² ≥ m is sqrt((1/m - 1/K) / (Σw² - 1/K)).
"""

from __future__ import annotations

from math import sqrt

from pipeline.models.model import Floats


def spread(weights: Floats, effective: float) -> Floats:
    """Return weights of at least min(effective, K) effective arms, as near to the given ones as a mix can be.

    A distribution stays one, and an entry moves towards 1/K only.
    """
    count = len(weights)
    concentration = float(weights @ weights)
    if effective * concentration <= 1.0:
        return weights
    even = 1.0 / count
    keep = sqrt(max(1.0 / effective - even, 0.0) / (concentration - even)) if concentration > even else 0.0
    return (1.0 - keep) * even + keep * weights
