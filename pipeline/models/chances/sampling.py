"""P(an arm is the best) where arms share what is not known: counted over samples, for there is no short integral.

    index_s = mean + root z_s,   z_s ~ N(0, I),   P_k = (samples in which arm k is the largest) / S

What is counted is what is drawn from and logged, so a propensity is exact whatever S is (law 6): S decides how near
the policy is to Thompson's. Of independent points a frequency has the standard error sqrt(P (1 - P) / S), at most
0.0078 at 4,096; the points here spread more evenly than chance in up to some 64 dimensions (Sobol 1967), and are
mostly nearer. They are the same in every process, so the same posterior gives the same propensities everywhere.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.special import ndtri

from pipeline.models.model import Floats

SAMPLES_LOG2 = 12
_KEPT = 8  # an array of points for each dimension in use; 4,096 x 64 of them take 2 MB


def best_arm_by_sampling(mean: Floats, root: Floats, samples_log2: int = SAMPLES_LOG2) -> Floats:
    """Return how often each of K jointly normal arms is the largest, (K,), summing to 1.

    Args:
        mean: (K,).
        root: (K, q) with root @ root.T the arms' covariance, in any q: for arms x_kᵀθ of one θ ~ N(θ̂, L Lᵀ), X @ L.
        samples_log2: log2 of S; O(S K q).

    Raises ValueError where a number is NaN or infinite.

    >>> best_arm_by_sampling(np.zeros(2), np.eye(2)).tolist()
    [0.5, 0.5]
    """
    return frequencies(normal_points(root.shape[1], samples_log2) @ root.T + mean)


def frequencies(samples: Floats) -> Floats:
    """Return how often each column of (S, K) samples is its row's largest, (K,), summing to 1; equal ones share.

    Raises ValueError where a number is NaN or infinite.

    >>> frequencies(np.array([[1.0, 2.0], [3.0, 3.0]])).tolist()
    [0.25, 0.75]
    """
    if not np.isfinite(samples).all():
        raise ValueError("samples of arms must be finite numbers")
    is_best = samples == samples.max(axis=1, keepdims=True)
    shared: Floats = (is_best / is_best.sum(axis=1, keepdims=True)).sum(axis=0) / len(samples)
    return shared


@lru_cache(_KEPT)
def normal_points(dimension: int, samples_log2: int = SAMPLES_LOG2) -> Floats:
    """Return (2**samples_log2, dimension) points that are spread as N(0, I) is, the same ones always; read-only.

    The second half mirrors the first, so that their mean is 0 exactly and every root of a covariance is met on both
    sides alike.
    """
    from scipy.stats import qmc  # noqa: PLC0415  half a second to import, and few models need it

    half = 2 ** (samples_log2 - 1)
    # Points of Sobol's net are lower corners of cells; their centres never meet 0 or 1.
    corners = qmc.Sobol(dimension, scramble=False).random(half)
    above = np.asarray(ndtri(corners + 0.5 / half), np.float64)
    points = np.concatenate((above, -above))
    points.setflags(write=False)
    return points
