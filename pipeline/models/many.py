"""Arm probabilities in many contexts at once: what `Model.probabilities` gives for each, to 1e-6.

For linear Thompson sampling the quadrature of `best_arm.gaussian_best` is done for all contexts in one pass of array
operations: most of its time for a few dozen arms is the cost of calling numpy. Rows that this form does not cover (a
standard deviation of 0, numbers that are no numbers) and other models are asked one by one.
"""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr

from pipeline.models import quadrature
from pipeline.models.linear_thompson import LinearThompson
from pipeline.models.model import Floats, Model, Posterior

# As in best_arm.py: a normal arm's ends, in standard deviations.
_BELOW = 6.2
_ABOVE = 6.5
# Of each (nodes, rows, panels, arms) array: what a processor's cache holds.
_CHUNK_BYTES = 1 << 20
_PANELS = 32  # what a chunk reckons with


def probabilities_many(model: Model, posterior: Posterior, contexts: Floats) -> Floats:
    """Return each arm's chance to be chosen in each of the contexts (m, d): (m, K), before the floor.

    A row is NaN where the model has no answer.
    """
    if type(model) is not LinearThompson:
        return np.array([_one(model, posterior, context) for context in contexts])
    theta, covariance = posterior.parameters["theta"], posterior.parameters["covariance"]
    mean = contexts @ theta.T
    variance = np.einsum("kmd,md->mk", contexts @ covariance, contexts)
    chances = gaussian_best_many(mean, model.v * np.sqrt(np.maximum(variance, 0.0)))
    for row in np.flatnonzero(np.isnan(chances[:, 0])):
        chances[row] = _one(model, posterior, contexts[row])
    return chances


def gaussian_best_many(mean: Floats, sd: Floats) -> Floats:
    """Return P(arm k is the largest) of independent N(mean, sd²) in each row, (m, K); rows not covered are NaN."""
    rows = max(1, _CHUNK_BYTES // (8 * mean.shape[1] * quadrature.NODES * _PANELS))
    best = np.full(mean.shape, np.nan)
    covered = np.flatnonzero(np.isfinite(mean).all(1) & np.isfinite(sd).all(1) & (sd > 0.0).all(1))
    for start in range(0, len(covered), rows):
        chunk = covered[start : start + rows]
        best[chunk] = _best(mean[chunk], sd[chunk])
    return best


def _one(model: Model, posterior: Posterior, context: Floats) -> Floats:
    try:
        return model.probabilities(posterior, context)
    except ValueError:
        return np.full(posterior.arm_count, np.nan)


def _best(mean: Floats, sd: Floats) -> Floats:
    """Do what `gaussian_best` does, row by row; a dead arm has density 0 and lies below every point."""
    first = (mean - _BELOW * sd).argmax(1)[:, None]
    lo = -_BELOW * np.take_along_axis(sd, first, 1)
    centre = mean - np.take_along_axis(mean, first, 1) - lo  # distances from lo
    ends = centre + _ABOVE * sd
    live = ends > 0.0
    alive = np.flatnonzero(live.any(0))
    if len(alive) < mean.shape[1]:  # arms that are dead in every row cost nothing
        best = np.zeros(mean.shape)
        best[:, alive] = _best(mean[:, alive], sd[:, alive])
        return best
    widths, points = _panels(np.where(live, ends, 0.0), np.where(live, sd, np.inf))
    z = points[:, :, :, None] - centre[:, None, :]
    z /= sd[:, None, :]
    z *= z
    z *= -0.5
    density = np.exp(z, out=z)
    density *= live[:, None, :]
    z_lo = centre / sd
    below = np.where(live, ndtr(-z_lo), 1.0)
    best = _chances(density, widths, below, np.where(live, ndtr(z_lo), 0.0))
    total = best.sum(1, keepdims=True)
    return np.where(np.abs(total - 1.0) < 1e-6, best / total, np.nan)


def _panels(ends: Floats, scales: Floats) -> tuple[Floats, Floats]:
    """Lay panels over each row's live arms as `quadrature.panels` does: (m, N) widths, (NODES, m, N) points.

    Rows that need fewer panels than the others have some of width 0 at their end.
    """
    order = ends.argsort(1)
    knots = np.pad(np.take_along_axis(ends, order, 1), ((0, 0), (1, 0)))
    smallest_beyond = np.minimum.accumulate(np.take_along_axis(scales, order, 1)[:, ::-1], 1)[:, ::-1]
    steps = np.diff(knots, axis=1) / smallest_beyond
    measure = np.pad(steps.cumsum(1), ((0, 0), (1, 0)))
    count = np.ceil(measure[:, -1:])
    at = np.minimum(np.arange(int(count.max()) + 1) / count, 1.0) * measure[:, -1:]
    place = (measure[:, None, 1:-1] <= at[:, :, None]).sum(2)
    left, step = np.take_along_axis(measure, place, 1), np.take_along_axis(steps, place, 1)
    share = np.clip((at - left) / np.where(step > 0.0, step, 1.0), 0.0, 1.0)
    near, far = np.take_along_axis(knots, place, 1), np.take_along_axis(knots, place + 1, 1)
    edges = near + share * (far - near)
    widths = np.diff(edges, axis=1)
    return widths, edges[:, :-1] + widths * quadrature.NODE[:, None, None]


def _chances(density: Floats, widths: Floats, below: Floats, above: Floats) -> Floats:
    """Do what `quadrature.chances` does, row by row; `density`, (NODES, m, N, K), is overwritten."""
    density *= widths[:, :, None]
    flat = density.reshape(quadrature.NODES, -1)  # nodes first: each rule is one matrix product over everything
    mass = (quadrature.WEIGHT @ flat).reshape(density.shape[1:])
    total = mass.sum(1)
    factor = above / np.where(total > 0.0, total, 1.0)
    cdf = (quadrature.UP_TO_NODE @ flat).reshape(density.shape)
    cdf += mass.cumsum(1) - mass
    cdf *= factor[:, None, :]
    cdf += below[:, None, :]
    np.maximum(cdf, quadrature.TINY, out=cdf)
    weight = cdf.prod(axis=3)
    weight *= quadrature.WEIGHT[:, None, None]
    density /= cdf
    density *= weight[:, :, :, None]
    chance: Floats = density.sum((0, 2)) * factor
    return chance
