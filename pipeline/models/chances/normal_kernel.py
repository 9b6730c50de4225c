"""The loops of `trapezoid.py`, compiled: some seven hundred steps of a few nanoseconds each.

Numba compiles this module when it is first imported, for some seconds, and keeps what it made beside this file, or in
the user's cache: whoever imports it later waits a tenth of a second. So it is imported where it is used.

φ and Φ are Taylor's series about the nearest of `_Z`, where both are known. With x the distance, |x| <= 2^-6, and He_n
Hermite's polynomials, so that the n-th derivative of φ is (-1)^n He_n φ:

    φ(z + x) = φ (1 - x He_1 + x²/2 He_2 - x³/6 He_3 + x⁴/24 He_4)
    Φ(z + x) = Φ + φ x (1 - x/2 He_1 + x²/6 He_2 - x³/24 He_3)

The next terms, x⁵/120 times He_5 φ or He_4 φ, are less than 3e-11.
"""

from __future__ import annotations

from collections.abc import Callable
from math import factorial, inf, isfinite, nan, sqrt, tau
from typing import TypeVar, cast

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.special import ndtr

from pipeline.models.chances.normal_tail import ABOVE
from pipeline.models.model import Floats

Loop = TypeVar("Loop", bound=Callable[..., object])

_MOST_POINTS = 1_000
"""Of twenty arms about thirty widths to one; beyond, panels may be sooner done."""
_TOLERANCE = 1e-6
"""By how much the chances may miss 1 before they are brought to it."""
_NODES_EACH = 32  # of one standard deviation
_Z = np.arange(-ABOVE * _NODES_EACH - 1, ABOVE * _NODES_EACH + 2) / _NODES_EACH
_FIRST = float(_Z[0])


def _nodes() -> Floats:
    """Return a row for each node: z, Φ, φ and its next four coefficients, then those of Φ that are not φ's."""
    pdf, he = np.exp(-0.5 * _Z * _Z) / sqrt(tau), [np.ones_like(_Z), _Z]
    for n in (1, 2, 3):
        he.append(_Z * he[n] - n * he[n - 1])
    a = [(-1) ** n * pdf * he[n] / factorial(n) for n in range(5)]
    return np.stack((_Z, ndtr(_Z), *a, *(a[n] / (n + 1) for n in (1, 2, 3))), 1)


_NODES = _nodes()


def _compiled(signature: str) -> Callable[[Loop], Loop]:
    """Compile for one type of arguments: for another one there is an error, never seconds of compiling again."""

    def compiled(loop: Loop) -> Loop:
        try:
            return cast("Loop", njit(signature, error_model="numpy", cache=True)(loop))
        except RuntimeError:  # there is no folder that can be written to: every process compiles
            return cast("Loop", njit(signature, error_model="numpy")(loop))

    return compiled


@_compiled("float64(float64[::1], float64[::1], float64[::1], int64[::1], float64[::1])")
def low_end(mean: Floats, sd: Floats, z: Floats, orders: NDArray[np.int64], ends: Floats) -> float:
    """Return the largest over r of the r-th largest of mean + z_r sd, or what is NaN or infinite among them.

    r = 1 comes first; `ends` is room for (K,) numbers.
    """
    low = nan
    for at in range(len(z)):
        for k in range(len(mean)):
            ends[k] = mean[k] + z[at] * sd[k]
        if at == 0:
            low = float(ends.max())
            if not isfinite(low):
                break
        else:
            ends.sort()
            low = max(low, ends[-orders[at]])
    return low


@_compiled("float64[:,::1](float64[:,::1], float64[:,::1], float64[::1], int64[::1], float64)")
def normal_best(mean: Floats, sd: Floats, z: Floats, orders: NDArray[np.int64], density: float) -> Floats:
    """Return the chances (m, K) of `trapezoid.normal_best`; `z` and `orders` are for `low_end`.

    `density` is h in the finest arm's standard deviation.
    """
    rows, arms = mean.shape
    best = np.zeros((rows, arms))
    place, ratio = np.empty(arms, np.int64), np.empty(arms)
    centre, slope, ends = np.empty(arms), np.empty(arms), np.empty(arms)
    for row in range(rows):
        low = low_end(mean[row], sd[row], z, orders, ends)
        # Those that can be best, first to last; distances from `low` keep their digits, wherever the arms lie.
        live, reach, finest, smallest = 0, 0.0, inf, inf
        for k in range(arms):
            width = sd[row, k]
            end = mean[row, k] - low + ABOVE * width
            smallest = min(smallest, width)
            if end > 0.0:
                place[live], centre[live], slope[live] = k, mean[row, k] - low, 1.0 / width
                live += 1
                reach, finest = max(reach, end), min(finest, width)
        step = density * finest
        if not (isfinite(low) and smallest > 0.0 and reach < _MOST_POINTS * step):
            best[row] = nan
            continue
        total = 0.0
        for point in range(int(reach / step) + 2):
            t = point * step
            product = 1.0
            at = 0
            while at < live:
                x = (t - centre[at]) * slope[at]
                if x >= ABOVE:  # it has ended, and the last one takes its place
                    live -= 1
                    place[at], centre[at], slope[at] = place[live], centre[live], slope[live]
                    continue
                node = _NODES[max(int((x - _FIRST) * _NODES_EACH + 0.5), 0)]
                x -= node[0]
                pdf = node[2] + x * (node[3] + x * (node[4] + x * (node[5] + x * node[6])))
                cdf = node[1] + x * (node[2] + x * (node[7] + x * (node[8] + x * node[9])))
                ratio[at] = pdf / cdf * slope[at]  # takes out of the product what is the arm's own
                product *= cdf
                at += 1
            for at in range(live):
                part = product * ratio[at]
                best[row, place[at]] += part
                total += part
        if abs(total * step - 1.0) < _TOLERANCE:
            best[row] /= total
        else:
            best[row] = nan
    return best
