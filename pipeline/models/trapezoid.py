"""P(X_k is the largest) of independent normal arms, in many rows at once, by the trapezoidal rule on an even grid.

    P_k = ∫ f_k(t) Π_{j≠k} F_j(t) dt ≈ h Σ_i f_k(t_i) Π_{j≠k} F_j(t_i)

The integrand is analytic and all but 0 at both ends, so the rule errs by what the integrand's spectrum holds beyond
2π/h (Trefethen & Weideman 2014, section 5); the more arms, the steeper the flank of their product. No F_j is evaluated
either: it is the running sum of f_j, put right at its end by four terms of Euler and Maclaurin's formula,

    ∫_a^t f = h Σ' f - [h²/12 f' - h⁴/720 f⁽³⁾ + h⁶/30240 f⁽⁵⁾ - h⁸/1209600 f⁽⁷⁾]_a^t,   f' = -z f / σ, ...

whose next term is at most h¹⁰/47900160 max |f⁽⁹⁾| = 8e-9, of alternating sign along an arm's flanks.

`quadrature.py` lays panels of many lengths instead; it costs more where the arms are of about one width, and less
where some are much wider than others: such rows are not covered here.
"""

from __future__ import annotations

from math import ceil, log, sqrt, tau

import numpy as np
from scipy.special import ndtr

from pipeline.models.best_arm import ABOVE, low_end
from pipeline.models.model import Floats

TINY = 1e-300
_MOST_POINTS = 160
"""About three widths to one; beyond, panels are sooner done."""
_CHUNK_BYTES = 1 << 18
"""Of each (points, rows, arms) array: several of them stay in a core's cache."""
_DENSITY = 1.0 / sqrt(tau)


def normal_best(mean: Floats, sd: Floats) -> Floats:
    """Return each arm's chance to be the largest of its row: (m, K), rows summing to 1; NaN in rows not covered.

    Not covered are rows with numbers that are none, an sd of 0 or less, or arms of very unequal sd.
    """
    best = np.full(mean.shape, np.nan)
    # Distances from the arm of the largest mean keep their digits, wherever the arms lie.
    first = mean.argmax(1)
    centre = mean - mean[np.arange(len(mean)), first][:, None]
    centre -= low_end(centre, sd)[:, None]
    ends = centre + ABOVE * sd
    finest = np.where(ends > 0.0, sd, np.inf).min(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        points = ends.max(1) / finest / _step(mean.shape[1])
    covered = (points < _MOST_POINTS) & (sd.min(1) > 0.0)
    if not covered.all():
        chosen = covered.nonzero()[0]
        if len(chosen):
            best[chosen] = _chunks(centre[chosen], sd[chosen], ends[chosen], points[chosen])
        return best
    return _chunks(centre, sd, ends, points)


def _step(arms: int) -> float:
    """Return h in the finest arm's standard deviation.

    Of K alike arms the rule errs by at most 2e-8 (tried for K of 1 to 10,000); half a deviation is what the terms at
    the sum's end allow.

    >>> [round(_step(arms), 2) for arms in (2, 20, 50, 500)]
    [0.5, 0.35, 0.28, 0.19]
    """
    return min(0.5, 1.35 / (log(arms) + 0.9))


def _chunks(centre: Floats, sd: Floats, ends: Floats, points: Floats) -> Floats:
    count = ceil(points.max()) + 1
    rows = max(1, _CHUNK_BYTES // (8 * count * centre.shape[1]))
    if len(centre) <= rows:
        return _best(centre, sd, ends, count)
    parts = [slice(start, start + rows) for start in range(0, len(centre), rows)]
    return np.concatenate([_best(centre[part], sd[part], ends[part], ceil(points[part].max()) + 1) for part in parts])


def _best(centre: Floats, sd: Floats, ends: Floats, count: int) -> Floats:
    live = ends > 0.0
    if not live.all():
        alive = live.any(0)
        if not alive.all():  # arms that are dead in every row cost nothing
            best = np.zeros(centre.shape)
            best[:, alive] = _best(centre[:, alive], sd[:, alive], ends[:, alive], count)
            return best
    inverse = 1.0 / sd
    d = (ends.max(1) / (count - 1))[:, None] * inverse  # the grid's step, in each arm's own sd
    start = -centre * inverse
    z = np.arange(count)[:, None, None] * d
    z += start
    square = z * z
    density = np.exp(-0.5 * square)
    density *= _DENSITY * d  # times the step
    d_2 = d * d
    d_4 = d_2 * d_2
    # d z (1/12 + d²/720 (3 - z²) + d⁴/30240 (z⁴ - 10 z² + 15) + d⁶/1209600 (105 - 105 z² + 21 z⁴ - z⁶)) - 1/2, by
    # Horner's scheme in z²; times f it is the end's part.
    d_6 = d_4 * d_2
    end = square * (d_6 / -1209600.0)
    end += d_4 / 30240.0 + d_6 / 57600.0
    end *= square
    end -= d_2 / 720.0 + d_4 / 3024.0 + d_6 / 11520.0
    end *= square
    end += 1.0 / 12.0 + d_2 / 240.0 + d_4 / 2016.0 + d_6 / 11520.0
    end *= z
    end *= d
    end -= 0.5
    end *= density
    cdf = density.cumsum(0)
    cdf += end
    cdf += ndtr(start) - end[0] - density[0]
    if live.all():
        np.maximum(cdf, TINY, out=cdf)
    else:
        cdf = np.where(live, np.maximum(cdf, TINY), 1.0)
        density *= live
    # The quotient takes out of the product what is the arm's own.
    density /= cdf
    density *= cdf.prod(2)[:, :, None]
    best = density.sum(0)
    total = best.sum(1, keepdims=True)
    return np.where(np.abs(total - 1.0) < 1e-6, best / total, np.nan)
