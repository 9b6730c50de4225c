"""A logarithm that gives the same bits on every machine, for one number and for an array.

As `exact_trigonometry.py`: `math.log` is the platform's libm. Here x = m 2^e with m in [1/2, 1), exactly, and

    ln m = 2 (s + s³/3 + s⁵/5 + …),  s = (m - c) / (m + c)  about c = 3/4: |s| <= 1/5

cut off where what is left is below 2 · 5^-27 / 27 < 1e-19, nothing beside the grid's 2^-12.
"""

from __future__ import annotations

from math import frexp
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Real = TypeVar("Real", float, NDArray[np.float64])

_LN2 = 0.6931471805599453
_CENTRE = 0.75
_LN_CENTRE = -0.2876820724517809
_TERMS = tuple(2.0 / (2 * k + 1) for k in range(13))


def natural_logarithm(x: Real) -> Real:
    """Return ln x of a finite number above 0, within 1e-13 of it or of 1.

    >>> round(natural_logarithm(10.0), 12)
    2.302585092994
    """
    if isinstance(x, float):
        mantissa, exponent = frexp(x)
        return _of(mantissa, float(exponent))
    mantissas, exponents = np.frexp(x)
    return _of(mantissas, exponents.astype(np.float64))


def _of(mantissa: Real, exponent: Real) -> Real:
    s = (mantissa - _CENTRE) / (mantissa + _CENTRE)
    square = s * s
    value = square * _TERMS[-1]
    for term in _TERMS[-2:0:-1]:
        value = (value + term) * square
    return exponent * _LN2 + (_LN_CENTRE + s * (value + _TERMS[0]))
