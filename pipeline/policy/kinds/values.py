"""What a context may hold for a number, and how it is refused: ground of all kinds."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InvalidRecordError
from pipeline.models.grid import FEATURE_BITS
from pipeline.policy.render_value import shown

GRID_ONE = 1 << FEATURE_BITS
MISSING: Any = object()
"""In place of a value that a context doesn't have."""
NO_TEXTS: frozenset[str] = frozenset()
NUMBER_TYPES = frozenset({float, int})
FEATURE_REASONS = frozenset(
    {
        "missing-feature",
        "wrong-feature-type",
        "feature-not-finite",
        "feature-out-of-bounds",
        "unknown-category",
    }
)


def floats_of(values: Sequence[object]) -> NDArray[np.float64]:
    """Convert a column; what is no finite number becomes nan or infinite, never a number."""
    # numpy would read True as 1.0 and "7" as 7.0, so the types are looked at first.
    if NUMBER_TYPES.issuperset(map(type, values)):
        try:
            return np.array(values, dtype=np.float64)
        except OverflowError:  # an integer above 1.8e308
            pass
    return np.array([_float_or_nan(value) for value in values], dtype=np.float64)


def _float_or_nan(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return float("nan")
    try:
        return float(value)
    except OverflowError:
        return float("nan")


def finite(name: str, value: object) -> float:
    """Return a number as a float.

    Raises:
        InvalidRecordError: wrong-feature-type, feature-out-of-bounds, feature-not-finite.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise wrong_type(name, value, "a number")
    try:
        number = float(value)
    except OverflowError:
        raise out_of_bounds(name, value, "a number that float64 can hold") from None
    if not isfinite(number):
        raise InvalidRecordError("feature-not-finite", f"{name} is {number!r}, expected a finite number")
    return number


def missing(name: str) -> InvalidRecordError:
    """Return what is raised where a context lacks a feature."""
    return InvalidRecordError("missing-feature", f"{name} is not in the context")


def wrong_type(name: str, value: object, expected: str) -> InvalidRecordError:
    """Return what is raised for a value that is no number, or no word."""
    return InvalidRecordError(
        "wrong-feature-type", f"{name} is {shown(value)} ({type(value).__name__}), expected {expected}"
    )


def out_of_bounds(name: str, value: object, expected: str) -> InvalidRecordError:
    """Return what is raised for a number that is too small or too large."""
    return InvalidRecordError("feature-out-of-bounds", f"{name} is {shown(value)}, expected {expected}")


def steps_of(largest: int, bits: int, *, is_signed: bool = True) -> int:
    """Return how many steps of 2^-bits there are from -largest, or 0, to largest, a number of grid steps."""
    up = round(largest / (1 << (FEATURE_BITS - bits)))
    return 1 + up * (1 + is_signed)


def within(numbers: NDArray[np.float64], low: float, high: float, *, clips: bool) -> NDArray[np.bool_]:
    """Bring a column (m,) within its bounds, in place; return which of it was sound (the others become low)."""
    if clips:
        sound = np.isfinite(numbers)
        np.clip(numbers, low, high, out=numbers)
    else:
        sound = (numbers >= low) & (numbers <= high)
    if not sound.all():
        numbers[~sound] = low
    return sound


def beyond(*, clips: bool) -> dict[str, object]:
    """Give what a definition says of values beyond the bounds; nothing where they are refused."""
    return {"beyond": "clip"} if clips else {}
