"""P(an arm is the best) of independent arms: Thompson sampling's probabilities, computed (law 6).

The absolute error is at most 1e-6. Of it the cut tails are no more than 1e-9 an arm: an arm is called dead (chance
0) only if P(it is best) <= P(it is above lo) + P(all are below lo) <= 4e-11 + 3e-10 for normal arms, and twice
3e-10 for beta arms. The rest is quadrature, measured at under 1e-8 (`quadrature.py`).
"""

from __future__ import annotations

import numpy as np
from scipy.special import betainc, betaincc, betaincinv, expit, ndtr

from pipeline.models.model import Floats
from pipeline.models.quadrature import chances, panels

_BELOW = 6.2  # standard deviations: a tail of 2.8e-10
_ABOVE = 6.5  # 4.0e-11
_TAIL = 3e-10
_LOGIT_SCALE = 1.0  # of log(t/(1-t)) itself: exp(-e^y), the shape of a one-sided end, bends over a length of 1


def gaussian_best(mean: Floats, sd: Floats) -> Floats:
    """Return P(arm k is the largest) for independent N(mean_k, sd_k²), (K,), summing to 1.

    An arm with sd 0 is a point; equal points share alike. Raises ValueError where a number is NaN or infinite,
    or an sd is negative.
    """
    lower = mean - _BELOW * sd
    first = int(lower.argmax())
    # Distances from that arm's mean: close means keep all their digits, however far from 0 they are.
    centre = mean - mean[first]
    lo = -_BELOW * sd[first]
    upper = centre + _ABOVE * sd
    live = np.flatnonzero((upper > lo) & (sd > 0.0))
    best = np.zeros(len(mean))
    all_below = 1.0
    if len(live):
        s = sd[live]
        z_lo = (centre[live] - lo) / s  # from lo up to the mean
        widths, points = panels(upper[live] - lo, s)
        z = points[:, :, None] / s
        z -= z_lo
        z *= z
        z *= -0.5
        below, above = np.asarray(ndtr([-z_lo, z_lo]), np.float64)
        best[live] = chances(np.exp(z, out=z), widths, below, above)
        all_below = below.prod()
    if sd[first] == 0.0:  # then lo is a point, and the best one wherever all others are below
        is_first = (sd == 0.0) & (centre == 0.0)
        best[is_first] = all_below / is_first.sum()
    return _normalised(best, "mean and sd")


def beta_best(alpha: Floats, beta: Floats) -> Floats:
    """Return P(arm k is the largest) for independent Beta(alpha_k, beta_k), (K,), summing to 1.

    For alpha, beta >= 0.5. Raises ValueError where a number is NaN or infinite.

    Integrates over y = log(t / (1 - t)), where a beta density t**alpha (1 - t)**beta has no singular ends.
    """
    lower_t = betaincinv(alpha, beta, _TAIL)
    rest_t = betaincinv(beta, alpha, _TAIL)  # 1 - t at the upper end, without losing its digits
    lower = np.log(lower_t) - np.log1p(-lower_t)
    upper = np.log1p(-rest_t) - np.log(rest_t)
    lo = lower.max()
    live = np.flatnonzero(upper > lo)
    best = np.zeros(len(alpha))
    if len(live) == 0:  # NaN: the arm with the largest lower end lives
        return _normalised(best, "alpha and beta")
    a, b = alpha[live], beta[live]
    scale = np.minimum(np.sqrt(1.0 / a + 1.0 / b), _LOGIT_SCALE)  # curvature at the mode, log(a / b)
    widths, points = panels(upper[live] - lo, scale)
    # The log density less that of the mode, from the distance to it: exact where a and b are large.
    y = points[:, :, None] - (np.log(a / b) - lo)
    density = np.exp(a * y - (a + b) * np.log1p(a / (a + b) * np.expm1(y)))
    best[live] = chances(density, widths, *_beta_sides(a, b, lo))
    return _normalised(best, "alpha and beta")


def _beta_sides(a: Floats, b: Floats, y: float) -> tuple[Floats, Floats]:
    """Return each beta arm's chance to lie below and above t, where y = log(t / (1 - t))."""
    if y > 0.0:  # the mirror image: 1 - t holds digits that t has lost
        above, below = _beta_sides(b, a, -y)
        return below, above
    t = expit(y)
    return np.asarray(betainc(a, b, t), np.float64), np.asarray(betaincc(a, b, t), np.float64)


def _normalised(best: Floats, what: str) -> Floats:
    total = best.sum()
    if not abs(total - 1.0) < 1e-6:  # false for NaN
        raise ValueError(f"{what} are not those of {len(best)} arms: their chances come to {total!r}")
    normalised: Floats = best / total
    return normalised
