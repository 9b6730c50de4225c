"""P(an arm is the best) of independent gamma arms, as Poisson arms of unknown rate have.

Integrates over y = log t, where a gamma density t**shape e**(-rate t) has no singular end. It bends on the scale
1/sqrt(shape) up to its mode log(shape / rate), and beyond it on one that shrinks as e**(-u/2), u being the distance.
Error as in `best_arm.py`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammainc, gammaincc, gammainccinv, gammaincinv

from pipeline.models.chances.best_arm import TAIL, normalised
from pipeline.models.chances.quadrature import chances, panels_by
from pipeline.models.model import Floats


def gamma_best(shape: Floats, rate: Floats) -> Floats:
    """Return P(arm k is the largest) for independent Gamma(shape_k, rate_k), (K,), summing to 1.

    For shape >= 0.5. Raises ValueError where a number is NaN or infinite.
    """
    lower = np.log(gammaincinv(shape, TAIL)) - np.log(rate)
    upper = np.log(gammainccinv(shape, TAIL)) - np.log(rate)
    lo = lower.max()
    if not np.isfinite(lo):
        raise ValueError(f"shape and rate must be finite, and shape at least 0.5: seen {shape} and {rate}")
    live = np.flatnonzero(upper > lo)
    a, b = shape[live], rate[live]
    mode = np.log(a / b) - lo

    def step_at(y: float, beyond: NDArray[np.bool_]) -> float:
        scale = np.exp(-0.5 * np.maximum(y - mode[beyond], 0.0)) / np.sqrt(a[beyond])
        return float((scale / (1.0 + 0.5 * scale)).min())

    widths, points = panels_by(upper[live] - lo, step_at)
    # The log density less that of the mode, from the distance to it: exact where the shape is large.
    u = points[:, :, None] - mode
    density = np.exp(a * (u - np.expm1(u)))
    best = np.zeros(len(shape))
    end = b * np.exp(lo)
    below, above = (np.asarray(side(a, end), np.float64) for side in (gammainc, gammaincc))
    best[live] = chances(density, widths, below, above)
    return normalised(best, "shape and rate")
