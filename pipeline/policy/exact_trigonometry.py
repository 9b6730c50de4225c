"""Sine and cosine that give the same bits on every machine, for one number and for an array.

`math.sin` is the platform's libm and `np.sin` may be a SIMD kernel: their last bits differ between machines
and from each other, so a context encoded twice could land on two grid points. Additions and products of
float64 are exact to the bit everywhere (IEEE 754), so the Taylor series is used, on half a turn either way.
There the first term left out is π^29/29! < 3e-17 (sine) and π^28/28! < 3e-16 (cosine), and the largest term
is below 6, so rounding stays below 1e-13: nothing beside the grid's 2^-12.
"""

from __future__ import annotations

from math import factorial, tau
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Real = TypeVar("Real", float, NDArray[np.float64])

_SINE = tuple((-1.0) ** k / factorial(2 * k + 1) for k in range(14))
_COSINE = tuple((-1.0) ** k / factorial(2 * k) for k in range(14))


def sine_cosine(turn: Real) -> tuple[Real, Real]:
    """Return sin and cos of `turn`, a part of a whole turn in [-0.5, 0.5].

    >>> [round(x, 12) for x in sine_cosine(0.25)]
    [1.0, 0.0]
    """
    angle = turn * tau
    square = angle * angle
    return angle * _series(_SINE, square), _series(_COSINE, square)


def _series(coefficients: tuple[float, ...], x: Real) -> Real:
    """Evaluate the polynomial by Horner's rule, highest power first."""
    value = x * coefficients[-1]
    for coefficient in coefficients[-2:0:-1]:
        value = (value + coefficient) * x
    return value + coefficients[0]
