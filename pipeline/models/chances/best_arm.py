"""P(an arm is the best) of independent arms: Thompson sampling's probabilities, computed (law 6).

The absolute error is at most 1e-6. Of it the cut tails are no more than 1e-9 an arm: an arm is called dead (chance
0) only if P(it is best) <= P(it is above lo) + P(all are below lo) <= 4e-11 + 3e-10 for normal arms, and twice
3e-10 for beta arms. The rest is quadrature: about 1e-9, and 2e-8 for the worst arms that a search could find.
"""

from __future__ import annotations

import numpy as np
from scipy.special import betainc, betaincc, betaincinv, expit, ndtr

from pipeline.models.chances.normal_tail import ABOVE
from pipeline.models.chances.quadrature import chances, panels
from pipeline.models.chances.trapezoid import low_end, normal_best
from pipeline.models.model import Floats

_BELOW = 6.2  # standard deviations: a tail of 2.8e-10
TAIL = 3e-10


def gaussian_best(mean: Floats, sd: Floats) -> Floats:
    """Return P(arm k is the largest) for independent N(mean_k, sd_k²), (K,), summing to 1.

    An arm with sd 0 is a point; equal points share alike. Raises ValueError where a number is NaN or infinite,
    or an sd is negative.
    """
    even = normal_best(mean[None], sd[None])[0]
    return _by_panels(mean, sd) if np.isnan(even[0]) else even


def _by_panels(mean: Floats, sd: Floats) -> Floats:
    """Do the same for arms of any widths; about one width is sooner done by an even grid."""
    lower = mean - _BELOW * sd
    first = int(lower.argmax())
    # Distances from that arm's mean: close means keep all their digits, however far from 0 they are.
    centre = mean - mean[first]
    lo = -_BELOW * sd[first] if sd.min() <= 0.0 else low_end(centre, sd)
    upper = centre + ABOVE * sd
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
        below, above = np.asarray(ndtr(-z_lo), np.float64), np.asarray(ndtr(z_lo), np.float64)
        best[live] = chances(np.exp(z, out=z), widths, below, above)
        all_below = below.prod()
    if sd[first] == 0.0:  # then lo is a point, and the best one wherever all others are below
        is_first = (sd == 0.0) & (centre == 0.0)
        best[is_first] = all_below / is_first.sum()
    return normalised(best, "mean and sd")


def beta_best(alpha: Floats, beta: Floats) -> Floats:
    """Return P(arm k is the largest) for independent Beta(alpha_k, beta_k), (K,), summing to 1.

    For alpha, beta >= 0.5. Raises ValueError where a number is NaN or infinite.

    Integrates over y = log(t / (1 - t)), where a beta density t**alpha (1 - t)**beta has no singular ends.
    """
    lower_t = betaincinv(alpha, beta, TAIL)
    rest_t = betaincinv(beta, alpha, TAIL)  # 1 - t at the upper end, without losing its digits
    lower = np.log(lower_t) - np.log1p(-lower_t)
    upper = np.log1p(-rest_t) - np.log(rest_t)
    lo = lower.max()
    if not np.isfinite(lo):
        raise ValueError(f"alpha and beta must be finite and at least 0.5: seen {alpha} and {beta}")
    live = np.flatnonzero(upper > lo)
    a, b = alpha[live], beta[live]
    widths, points = panels(upper[live] - lo, np.sqrt(1.0 / a + 1.0 / b))  # by curvature at the mode, log(a / b)
    # The log density less that of the mode, from the distance to it: exact where a and b are large.
    y = points[:, :, None] - (np.log(a / b) - lo)
    density = np.exp(a * y - (a + b) * np.log1p(a / (a + b) * np.expm1(y)))
    best = np.zeros(len(alpha))
    below, above = (np.asarray(side(a, b, expit(lo)), np.float64) for side in (betainc, betaincc))
    best[live] = chances(density, widths, below, above)
    return normalised(best, "alpha and beta")


def normalised(best: Floats, what: str) -> Floats:
    """Return chances that sum to 1, from such that all but do. Raises ValueError where they don't."""
    total = best.sum()
    if not abs(total - 1.0) < 1e-6:  # false for NaN
        raise ValueError(f"{what} are not those of {len(best)} arms: their chances come to {total!r}")
    exact: Floats = best / total
    return exact
