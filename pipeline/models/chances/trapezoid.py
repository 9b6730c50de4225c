"""P(X_k is the largest) of independent normal arms, in one row or many, by the trapezoidal rule on an even grid.

    P_k = ∫ f_k(t) Π_{j≠k} F_j(t) dt ≈ h Σ_i f_k(t_i) Π_{j≠k} F_j(t_i)

The integrand is analytic and all but 0 at both ends, so the rule errs by what the integrand's spectrum holds beyond
2π/h (Trefethen & Weideman 2014, section 5); the more arms, the steeper the flank of their product.

The grid begins where the best arm can be (`low_end`) and ends where the last arm does. It is as fine as the narrowest
arm wants: where some are much wider than others `quadrature.py`, with panels of many lengths, costs less, and such rows
are not covered here.
"""

from __future__ import annotations

from functools import cache
from math import log
from types import ModuleType

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from pipeline.models.model import Floats

_TAIL_BELOW = 2.8e-10
"""That the best arm lies below `low_end`."""


def normal_best(mean: Floats, sd: Floats) -> Floats:
    """Return each arm's chance to be the largest of its row: (m, K), rows summing to 1; NaN in rows not covered.

    A row gives the same bytes alone or among others. Not covered are rows with numbers that are none, an sd of 0 or
    less, or arms of very unequal sd.
    """
    arms = mean.shape[1]
    chances: Floats = kernel().normal_best(_plain(mean), _plain(sd), *_orders(arms), _step(arms))
    return chances


def low_end(mean: Floats, sd: Floats) -> float:
    """Return where the best of normal arms (K,) of sd > 0 begins: it lies lower with a chance of 2.8e-10.

    All of r arms lie below a point together, so that each may have a tail of 2.8e-10^(1/r) there: of twenty alike arms
    the best is never found below their mean.
    """
    low: float = kernel().low_end(_plain(mean), _plain(sd), *_orders(len(mean)), np.empty(len(mean)))
    return low


@cache
def kernel() -> ModuleType:
    """Import what is compiled: tenths of a second, and seconds where it was never compiled before."""
    from pipeline.models.chances import normal_kernel  # noqa: PLC0415  a worker, and most commands, never need it

    return normal_kernel


def _plain(numbers: Floats) -> Floats:
    """Return the numbers as the compiled loops take them: contiguous, and not read-only."""
    return np.array(numbers, np.float64, order="C")


@cache
def _orders(arms: int) -> tuple[Floats, NDArray[np.int64]]:
    """Return the z of r = 1, 4, 16, … arms, and r."""
    orders = [4**n for n in range(arms.bit_length()) if 4**n <= arms]
    return np.array([float(ndtri(_TAIL_BELOW ** (1.0 / r))) for r in orders]), np.array(orders, np.int64)


@cache
def _step(arms: int) -> float:
    """Return h in the finest arm's standard deviation: the rule errs by less than 1e-8 for up to 50 arms.

    (Of arms alike, of one that is wider, narrower or elsewhere, and where a search found the worst. Of 500: 2e-8.)

    >>> [round(_step(arms), 2) for arms in (2, 20, 50, 500)]
    [0.55, 0.39, 0.31, 0.21]
    """
    return min(0.55, 1.5 / (log(arms) + 0.9))
