"""The fixed-point grid, and the proof that no sum on it can leave an int64.

A feature x is the integer round(x * 2**12); a reward r is the integer round(r * 2**e), where each policy
chooses e from its reward bounds so that |r| <= 2**15. Both fit their bounds before they are logged, so what
follows holds for every row ever added:

    one row         |x| <= 2**15 (any int16),  |r| <= 2**15
    one product     |x_i x_j|, |r x_i|, r**2 <= 2**30
    n rows          |sum| <= n * 2**30 <= (2**33 - 1) * 2**30 = 2**63 - 2**30 < 2**63 - 1

Hence `MAX_ROWS` is 2**33 - 1. It is not 2**33: that many rewards at their bound sum to r**2 = 2**63, one more
than an int64 holds. Only totals need the bound: int64 addition is addition modulo 2**64, so whatever sums of
changes do on the way, a total inside the range comes out exact.

A float64 matrix product of such integers is exact while every partial sum stays within 2**53, whatever order
BLAS adds in and whether or not it fuses multiply and add:

    a block         2**22 rows, a weighted product <= 2**31  =>  |partial sum| <= 2**53

The weight is what a change may multiply a row by (`statistics.fold`): a count's change is -1, 0 or 1, a
reward's change is at most 2**16, and that of a squared reward at most 2**30.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FEATURE_BITS = 12
FEATURE_LIMIT = 32767  # symmetric in an int16: -x is on the grid whenever x is
REWARD_LIMIT = 2**15
MAX_ROWS = 2**33 - 1
BLOCK_ROWS = 2**22


@dataclass(frozen=True)
class Grid:
    """The scale of one policy's integers, and its rewards' bounds; that of features is the same everywhere."""

    reward_exponent: int
    """A reward of 1 is the integer 2**reward_exponent; negative for rewards above 2**15."""
    bounds: tuple[float, float] | None = None
    """The least and the largest reward, where they are known better than by the grid."""

    @property
    def range(self) -> tuple[float, float]:
        """Return bounds that no reward leaves."""
        widest = reward_from_grid(REWARD_LIMIT, self.reward_exponent)
        return self.bounds or (-widest, widest)


def reward_exponent(low: float, high: float) -> int:
    """Return the largest e with max(|low|, |high|) * 2**e <= 2**15.

    Raises ValueError where low > high, a bound is not finite, or both are 0.

    >>> reward_exponent(0.0, 1.0), reward_exponent(-2.0, 500.0)
    (15, 6)
    """
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise ValueError(f"reward bounds must be finite, the lower one first: seen {low!r} and {high!r}")
    largest = max(abs(low), abs(high))
    if largest == 0:
        raise ValueError("reward bounds must not both be 0: no reward could ever differ from another")
    fraction, exponent = math.frexp(largest)  # largest = fraction * 2**exponent, 1/2 <= fraction < 1
    return (16 if fraction == 0.5 else 15) - exponent


def reward_to_grid(value: float, exponent: int) -> int:
    """Return round(value * 2**exponent), a half going to the even neighbour.

    Raises ValueError where that is not a number within ±2**15.
    """
    return _nearest(value, exponent, REWARD_LIMIT, "reward")


def reward_from_grid(value: float, exponent: int) -> float:
    """Return value * 2**-exponent: the reward that a grid integer, or a sum of some, stands for."""
    return math.ldexp(value, -exponent)


def feature_to_grid(value: float) -> int:
    """Return round(value * 2**12), a half going to the even neighbour.

    Raises ValueError where that is not a number within ±32767, which is a value just below 8.
    """
    return _nearest(value, FEATURE_BITS, FEATURE_LIMIT, "feature")


def features_from_grid(features: NDArray[np.int16]) -> NDArray[np.float64]:
    """Return the float64 features, of any shape, that grid integers stand for. Exact."""
    return np.ldexp(features.astype(np.float64), -FEATURE_BITS)


def _nearest(value: float, exponent: int, limit: int, what: str) -> int:
    try:
        nearest = round(math.ldexp(value, exponent))
    except (OverflowError, ValueError):  # infinite, far too large, or NaN
        nearest = limit + 1
    if abs(nearest) > limit:
        raise ValueError(f"{what} {value!r} lies outside ±{limit} steps of 2**{-exponent}")
    return nearest
