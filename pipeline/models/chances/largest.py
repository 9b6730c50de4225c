"""From an index an arm to weights: the largest is certain."""

from __future__ import annotations

import numpy as np

from pipeline.models.model import Floats


def largest(index: Floats) -> Floats:
    """Return 1 for the arm with the largest index, shared equally by exact ties, and 0 for the others, (K,).

    >>> largest(np.array([2.0, 1.0, 2.0])).tolist()
    [0.5, 0.0, 0.5]
    """
    best = (index == index.max()).astype(np.float64)
    shared: Floats = best / best.sum()
    return shared
