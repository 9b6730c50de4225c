"""P(an arm is the best) of independent arms with Student's distribution, as Gaussian arms of unknown variance have.

The tails are long, so scales change on the way: at t the density of an arm bends on the scale
scale sqrt(1 + z²/ν), z = (t - location) / scale, which is how far its poles are. A panel is as long as the smallest
of them, less what it can shrink within the panel: its slope is at most 1/sqrt(ν). Error as in `best_arm.py`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from pipeline.models.chances.best_arm import TAIL, normalised
from pipeline.models.chances.quadrature import chances, panels_by
from pipeline.models.model import Floats


def student_best(location: Floats, scale: Floats, freedom: Floats) -> Floats:
    """Return P(arm k is the largest) for independent location_k + scale_k t(freedom_k), (K,), summing to 1.

    For scale > 0, freedom >= 1. Raises ValueError where a number is NaN or infinite.
    """
    reach = -scale * stdtrit(freedom, TAIL)
    lower = location - reach
    if not np.isfinite(lower).all():
        raise ValueError(
            f"location and scale must be finite, and freedom at least 1: seen {location}, {scale}, {freedom}"
        )
    first = int(lower.argmax())
    centre = location - location[first]  # close locations keep all their digits, however far from 0 they are
    lo = -reach[first]
    live = np.flatnonzero(centre + reach > lo)
    middle, s, nu = centre[live] - lo, scale[live], freedom[live]  # from lo up to the location
    slack = 1.0 / (1.0 + 1.0 / np.sqrt(nu))

    def step_at(t: float, beyond: NDArray[np.bool_]) -> float:
        z = (t - middle[beyond]) / s[beyond]
        return float((s[beyond] * np.sqrt(1.0 + z * z / nu[beyond]) * slack[beyond]).min())

    best = np.zeros(len(location))
    widths, points = panels_by(middle + reach[live], step_at)
    z = (points[:, :, None] - middle) / s
    density = np.exp(-0.5 * (nu + 1.0) * np.log1p(z * z / nu))
    below, above = (np.asarray(stdtr(nu, side), np.float64) for side in (-middle / s, middle / s))
    best[live] = chances(density, widths, below, above)
    return normalised(best, "location and scale")
