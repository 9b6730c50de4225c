"""P(X_k is the largest) of independent X_1 .. X_K, by Gauss-Legendre quadrature on panels that all arms share.

    P_k = ∫ f_k(t) Π_{j≠k} F_j(t) dt   over (lo, ∞),   lo = the largest of the arms' lower ends

An arm's lower and upper end cut off a tail that does not count. The best arm lies below lo with a chance of
Π F_j(lo), which is no more than the one tail that ends there; an arm whose upper end is not above lo is dead,
and is best with a chance of at most its own upper tail and that lower one together. So every live arm begins at
or below lo and ends above it. Near an arm's centre the integrand bends on that arm's scale, past its upper end
no more, so a panel at t need only be as short as the smallest scale among the arms that end above t. As a normal
arm that ends at t has a scale of at least (t - lo) / 13, the panels grow geometrically: arms a thousand times as
wide as others cost a few dozen panels more, not a thousand times as many.

No F_j is evaluated at a node: on each panel it is the integral of f_j's interpolating polynomial.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from typing import NamedTuple

import numpy as np
from numpy.polynomial import legendre
from numpy.typing import NDArray

from pipeline.models.model import Floats

NODES = 8  # with panels of one scale; an adversarial search found no error above 2e-8, where 1e-6 is asked for
TINY = 1e-300


_MOST_EVEN = 32
"""Up to so many panels of the finest scale are laid evenly: sooner done than thought about."""
_FEW_ARMS = 64
"""With more arms a panel less is worth the thought."""


class Panels(NamedTuple):
    """N panels, from lo to the last arm's upper end."""

    widths: Floats | None
    """(N,); None: all alike."""
    points: Floats
    """(N, NODES), as distances from lo."""


def panels(ends: Floats, scales: Floats) -> Panels:
    """Lay panels over the live arms, given how far above lo each ends (> 0) and its scale; (K,) each."""
    reach, finest = float(ends.max()), float(scales.min())
    if len(ends) <= _FEW_ARMS and reach <= _MOST_EVEN * finest:
        count = max(1, ceil(reach / finest))
        return Panels(None, _EVEN_POINTS[count] * (reach / count))
    return panels_by_scale(ends, scales)


def panels_by_scale(ends: Floats, scales: Floats) -> Panels:
    """Lay panels that are as short as the finest scale of an arm that ends beyond, and no shorter."""
    order = ends.argsort()
    knots = np.concatenate(([0.0], ends[order]))
    smallest_beyond = np.minimum.accumulate(scales[order][::-1])[::-1]
    # Distance measured in the scale that rules there; panels are equal in that measure.
    measure = np.concatenate(([0.0], ((knots[1:] - knots[:-1]) / smallest_beyond).cumsum()))
    count = int(np.ceil(measure[-1]))
    edges = np.interp(np.linspace(0.0, measure[-1], count + 1), measure, knots)
    widths = edges[1:] - edges[:-1]
    return Panels(widths, edges[:-1, None] + widths[:, None] * NODE)


def panels_by(ends: Floats, step_at: Callable[[float, NDArray[np.bool_]], float]) -> Panels:
    """Lay panels over the live arms, given how far above lo each ends, (K,), where scales change on the way.

    `step_at` is told a distance from lo and which arms end above it, and returns how long a panel may be there.
    """
    edges = [0.0]
    while (beyond := ends > edges[-1]).any():
        edges.append(edges[-1] + step_at(edges[-1], beyond))
    starts = np.array(edges)
    widths = starts[1:] - starts[:-1]
    return Panels(widths, starts[:-1, None] + widths[:, None] * NODE)


def chances(density: Floats, widths: Floats | None, below: Floats, above: Floats) -> Floats:
    """Return P(X_k is the largest and above lo) of K live arms, (K,); they sum to 1 - Π below.

    `density` is (N, NODES, K) at the panels' points, each arm's up to a constant factor; it is overwritten.
    `below` and `above` are P(X_k <= lo) and P(X_k > lo).
    """
    if widths is not None:  # else it is one of the constant factors
        density *= widths[:, None, None]
    mass = WEIGHT @ density  # (N, K)
    factor = above / mass.sum(0)
    cdf = UP_TO_NODE @ density
    cdf[1:] += mass[:-1].cumsum(0)[:, None, :]
    cdf *= factor
    cdf += below
    # Rounding may leave an F_j at 0 or just below: the quotient takes out what the product has put in.
    np.maximum(cdf, TINY, out=cdf)
    weight = cdf.prod(axis=2)
    weight *= WEIGHT
    density /= cdf
    chance: Floats = (weight.ravel() @ density.reshape(-1, density.shape[2])) * factor
    return chance


def _rule() -> tuple[Floats, Floats, Floats]:
    """Return nodes and weights on [0, 1], and the matrix that takes values at nodes to integrals up to each."""
    nodes, weights = legendre.leggauss(NODES)
    P = legendre.legvander(nodes, NODES)  # P[i, n] = P_n(x_i)
    up_to = np.outer(nodes + 1.0, weights) / 2.0  # n = 0
    for n in range(1, NODES):
        # ∫_{-1}^{x} P_n = (P_{n+1} - P_{n-1}) / (2n + 1), times P_n's coefficient (2n + 1)/2 Σ w_j P_n(x_j) f_j
        up_to += np.outer(P[:, n + 1] - P[:, n - 1], weights * P[:, n]) / 2.0
    return (nodes + 1.0) / 2.0, weights / 2.0, up_to / 2.0


NODE, WEIGHT, UP_TO_NODE = _rule()
_EVEN_POINTS = [np.arange(count)[:, None] + NODE for count in range(_MOST_EVEN + 1)]
"""By count: the points of so many panels of width 1."""
