"""P(X_k is the largest) of independent normal arms, in many rows at once, by the trapezoidal rule on an even grid.

    P_k = ∫ f_k(t) Π_{j≠k} F_j(t) dt ≈ h Σ_i f_k(t_i) Π_{j≠k} F_j(t_i)

The integrand is analytic and all but 0 at both ends, so the rule errs by what the integrand's spectrum holds beyond
2π/h (Trefethen & Weideman 2014, section 5); the more arms, the steeper the flank of their product.

The grid begins where the best arm can be (`low_end`) and ends where the last arm does. It is as fine as the narrowest
arm wants: where some are much wider than others `quadrature.py`, with panels of many lengths, costs less, and such rows
are not covered here. For few rows most of the time is the calls of numpy, so there are few of them.
"""

from __future__ import annotations

from functools import cache, partial
from math import ceil, log, sqrt, tau

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from pipeline.models.model import Floats

ABOVE = 6.5
"""Standard deviations: an arm's upper end, a tail of 4.0e-11."""
_TAIL_BELOW = 2.8e-10
"""That the best arm lies below `low_end`."""
_MOST_POINTS = 160
"""About three widths to one; beyond, panels are sooner done."""
_CHUNK_BYTES = 1 << 18
"""Of each (rows, arms, points) array: both stay in a core's cache."""
_DENSITY = 1.0 / sqrt(tau)
# What the methods of arrays call; for few numbers most of the time is the way there.
_largest, _smallest, _sum, _product = np.maximum.reduce, np.minimum.reduce, np.add.reduce, np.multiply.reduce
_all = partial(np.logical_and.reduce, axis=None)


def normal_best(mean: Floats, sd: Floats) -> Floats:
    """Return each arm's chance to be the largest of its row: (m, K), rows summing to 1; NaN in rows not covered.

    Not covered are rows with numbers that are none, an sd of 0 or less, or arms of very unequal sd.
    """
    # Distances from the largest mean keep their digits, wherever the arms lie.
    centre = mean - _largest(mean, 1)[:, None]
    centre -= low_end(centre, sd)[:, None]
    ends = centre + ABOVE * sd
    reach = _largest(ends, 1)
    step = _step(mean.shape[1]) * _smallest(np.where(ends > 0.0, sd, np.inf), 1)
    covered = (reach < _MOST_POINTS * step) & (_smallest(sd, 1) > 0.0)  # false for NaN
    if _all(covered):
        return _chunks(centre, sd, ends, reach, step)
    best = np.full(mean.shape, np.nan)
    chosen = covered.nonzero()[0]
    if len(chosen):
        best[chosen] = _chunks(centre[chosen], sd[chosen], ends[chosen], reach[chosen], step[chosen])
    return best


def low_end(mean: Floats, sd: Floats) -> Floats:
    """Return where the best of normal arms (m, K) of sd > 0 begins, (m,): it lies lower with a chance of 2.8e-10.

    All of r arms lie below a point together, so that each may have a tail of 2.8e-10^(1/r) there: of twenty alike arms
    the best is never found below their mean.
    """
    z, each, place = _orders(mean.shape[1])
    reached = sd[:, None, :] * z
    reached += mean[:, None, :]
    reached.sort(2)
    low: Floats = _largest(reached[:, each, place], 1)
    return low


@cache
def _orders(arms: int) -> tuple[Floats, NDArray[np.intp], NDArray[np.intp]]:
    """Return the z of r = 1, 4, 16, … arms, (R, 1), and where in (R, K) ends in rising order the r-th from above is."""
    orders = [4**n for n in range(arms.bit_length()) if 4**n <= arms]
    z = [[float(ndtri(_TAIL_BELOW ** (1.0 / r)))] for r in orders]
    return np.array(z), np.arange(len(orders)), np.array([arms - r for r in orders])


@cache
def _step(arms: int) -> float:
    """Return h in the finest arm's standard deviation: the rule errs by less than 1e-8 for up to 50 arms.

    (Of arms alike, of one that is wider, narrower or elsewhere, and where a search found the worst. Of 500: 2e-8.)

    >>> [round(_step(arms), 2) for arms in (2, 20, 50, 500)]
    [0.55, 0.39, 0.31, 0.21]
    """
    return min(0.55, 1.5 / (log(arms) + 0.9))


def _chunks(centre: Floats, sd: Floats, ends: Floats, reach: Floats, step: Floats) -> Floats:
    points = reach / step
    count = ceil(_largest(points)) + 1
    rows = max(1, _CHUNK_BYTES // (8 * count * centre.shape[1]))
    if len(centre) <= rows:
        return _best(centre, sd, ends, reach, count)
    parts = [slice(start, start + rows) for start in range(0, len(centre), rows)]
    return np.concatenate(
        [_best(centre[part], sd[part], ends[part], reach[part], ceil(_largest(points[part])) + 1) for part in parts]
    )


def _best(centre: Floats, sd: Floats, ends: Floats, reach: Floats, count: int) -> Floats:
    """Return the chances on a grid of `count` points from 0 to each row's reach."""
    is_alive = ends > 0.0
    if not (are_all_alive := _all(is_alive)):
        alive = is_alive.any(0)
        if not _all(alive):  # arms that are dead in every row cost nothing
            best = np.zeros(centre.shape)
            best[:, alive] = _best(centre[:, alive], sd[:, alive], ends[:, alive], reach, count)
            return best
        # Elsewhere they stay at their upper end, where they are below everything and weigh nothing.
        centre, sd = np.where(is_alive, centre, -ABOVE), np.where(is_alive, sd, 1.0)
    line = np.empty((*centre.shape, 2))  # each arm's z is a line over the grid
    np.divide(centre, sd, out=line[:, :, 0])
    width = np.divide((reach / (count - 1))[:, None], sd, out=line[:, :, 1])
    if not are_all_alive:
        width[~is_alive] = 0.0
    z = (line.reshape(-1, 2) @ _grid(count)).reshape(*centre.shape, count)
    # No arm begins above the grid's start, so none of these is below the tail of `low_end`.
    cdf = ndtr(z)
    z *= z
    z *= -0.5
    density = np.exp(z, out=z)
    density /= cdf  # takes out of the product what is the arm's own
    best = (density @ _product(cdf, 1)[:, :, None])[:, :, 0]
    best *= width
    total = _sum(best, 1)[:, None]
    return np.where(np.abs(total * _DENSITY - 1.0) < 1e-6, best / total, np.nan)


@cache
def _grid(count: int) -> Floats:
    """Return what a line's start and slope are multiplied with."""
    return np.stack((np.full(count, -1.0), np.arange(count)))
