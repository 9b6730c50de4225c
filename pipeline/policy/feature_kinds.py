"""The kinds of feature: what one context field becomes on the grid.

Every kind encodes one value (`encode`, which says why a value is refused) and a whole column
(`encode_column`, which writes into zeroed entries and only says which rows are sound). Both use the same
float64 operations, each correctly rounded, so they agree to the bit. A grid entry x_int stands for
x_int * 2^-12; all kinds stay within ±1, so |x_int| <= 4096, but for standardised ones, which the grid bounds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import fmod, isfinite

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InvalidRecordError
from pipeline.models.grid import FEATURE_BITS, FEATURE_LIMIT
from pipeline.policy.exact_logarithm import natural_logarithm
from pipeline.policy.exact_trigonometry import sine_cosine
from pipeline.policy.render_value import shown

GRID_ONE = 1 << FEATURE_BITS

FEATURE_REASONS = frozenset(
    {
        "missing-feature",
        "wrong-feature-type",
        "feature-not-finite",
        "feature-out-of-bounds",
        "unknown-category",
    }
)

NUMBER_TYPES = frozenset({float, int})


@dataclass(frozen=True, slots=True)
class NumericFeature:
    """A number with known bounds, scaled to [-1, 1]; width 1."""

    name: str
    """Context field."""
    low: float
    """Smallest accepted value; becomes -1."""
    high: float
    """Largest accepted value; becomes 1."""

    @property
    def width(self) -> int:
        """Entries in the context vector."""
        return 1

    def encode(self, value: object) -> tuple[int, ...]:
        """Scale and round half to even; a value outside the bounds is refused, never clipped."""
        low, high = self.low, self.high
        # A float, as most are, need not be looked at first: what is not finite is within no bounds.
        number = value if type(value) is float and low <= value <= high else _finite(self.name, value)
        if not low <= number <= high:
            raise _out_of_bounds(self.name, value, f"{low!r} to {high!r}")
        return (round(((number - low) / (high - low) * 2.0 - 1.0) * GRID_ONE),)

    def encode_column(self, values: Sequence[object], out: NDArray[np.int16]) -> NDArray[np.bool_]:
        """Encode `values` (m,) into `out` (m, 1); return which rows are sound (the others get -1)."""
        numbers = _floats(values)
        sound = (numbers >= self.low) & (numbers <= self.high)
        if not sound.all():
            numbers[~sound] = self.low
        numbers -= self.low
        numbers /= self.high - self.low
        numbers *= 2.0
        numbers -= 1.0
        numbers *= GRID_ONE
        out[:, 0] = np.rint(numbers, out=numbers)
        return sound

    def to_plain(self) -> dict[str, object]:
        """Give the JSON value."""
        return {"name": self.name, "kind": "numeric", "low": self.low, "high": self.high}


@dataclass(frozen=True, slots=True)
class LogarithmicFeature:
    """A number with known bounds and a heavy tail, scaled by its logarithm to [-1, 1]; width 1.

    x becomes ln(1 + (x - low) / unit), scaled: nearly even below the unit above `low`, and by factors beyond it. So a
    price of 5 and one of 50 stay apart under a bound of 100,000.
    """

    name: str
    """Context field."""
    low: float
    """Smallest accepted value; becomes -1."""
    high: float
    """Largest accepted value; becomes 1."""
    unit: float
    """How far above `low` factors begin to count rather than differences."""
    _span: float = field(init=False, repr=False, compare=False)
    """ln(1 + (high - low) / unit)."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "_span", natural_logarithm(1.0 + (self.high - self.low) / self.unit))

    @property
    def width(self) -> int:
        """Entries in the context vector."""
        return 1

    def encode(self, value: object) -> tuple[int, ...]:
        """Scale and round half to even; a value outside the bounds is refused, never clipped."""
        number = _finite(self.name, value)
        if not self.low <= number <= self.high:
            raise _out_of_bounds(self.name, value, f"{self.low!r} to {self.high!r}")
        part = natural_logarithm(1.0 + (number - self.low) / self.unit) / self._span
        return (round((part * 2.0 - 1.0) * GRID_ONE),)

    def encode_column(self, values: Sequence[object], out: NDArray[np.int16]) -> NDArray[np.bool_]:
        """Encode `values` (m,) into `out` (m, 1); return which rows are sound (the others get -1)."""
        numbers = _floats(values)
        sound = (numbers >= self.low) & (numbers <= self.high)
        if not sound.all():
            numbers[~sound] = self.low
        part = natural_logarithm(1.0 + (numbers - self.low) / self.unit) / self._span
        out[:, 0] = np.rint((part * 2.0 - 1.0) * GRID_ONE)
        return sound

    def to_plain(self) -> dict[str, object]:
        """Give the JSON value."""
        return {"name": self.name, "kind": "logarithmic", "low": self.low, "high": self.high, "unit": self.unit}


@dataclass(frozen=True, slots=True)
class CategoricalFeature:
    """A word from a known list, as one-hot entries; width is the length of the list."""

    name: str
    """Context field."""
    values: tuple[str, ...]
    """Accepted words; the position gives the entry that is 1."""
    _positions: Mapping[str, int] = field(init=False, repr=False, compare=False)
    """Word → position."""

    def __post_init__(self) -> None:
        positions = {word: position for position, word in enumerate(self.values)}
        object.__setattr__(self, "_positions", positions)

    @property
    def width(self) -> int:
        """Entries in the context vector."""
        return len(self.values)

    def encode(self, value: object) -> tuple[int, ...]:
        """Give 1 at the word's position and 0 elsewhere; a word not listed is refused."""
        if not isinstance(value, str):
            raise _wrong_type(self.name, value, "a string")
        position = self._positions.get(value, -1)
        if position < 0:
            raise InvalidRecordError(
                "unknown-category", f"{self.name} is {shown(value)}, expected one of {shown(self.values)}"
            )
        entries = [0] * len(self.values)
        entries[position] = GRID_ONE
        return tuple(entries)

    def encode_column(self, values: Sequence[object], out: NDArray[np.int16]) -> NDArray[np.bool_]:
        """Encode `values` (m,) into `out` (m, width); return which rows are sound (the others get 0)."""
        find = self._positions.get
        try:
            found = [find(value, -1) for value in values]  # type: ignore[call-overload]
        except TypeError:  # an unhashable value, such as a list
            found = [find(value, -1) if isinstance(value, str) else -1 for value in values]
        positions = np.array(found, dtype=np.intp)
        sound: NDArray[np.bool_] = positions >= 0
        out[np.flatnonzero(sound), positions[sound]] = GRID_ONE
        return sound

    def to_plain(self) -> dict[str, object]:
        """Give the JSON value."""
        return {"name": self.name, "kind": "categorical", "values": list(self.values)}


@dataclass(frozen=True, slots=True)
class CyclicFeature:
    """A number that comes round, such as an hour of the day, as sine and cosine; width 2."""

    name: str
    """Context field."""
    period: float
    """Length of one turn; any finite value is accepted and wrapped."""

    @property
    def width(self) -> int:
        """Entries in the context vector."""
        return 2

    def encode(self, value: object) -> tuple[int, ...]:
        """Give sin and cos of the value's part of a turn, rounded half to even."""
        turn = fmod(_finite(self.name, value), self.period) / self.period
        sine, cosine = sine_cosine(turn - round(turn))
        return round(sine * GRID_ONE), round(cosine * GRID_ONE)

    def encode_column(self, values: Sequence[object], out: NDArray[np.int16]) -> NDArray[np.bool_]:
        """Encode `values` (m,) into `out` (m, 2); return which rows are sound (the others as for 0)."""
        numbers = _floats(values)
        sound = np.isfinite(numbers)
        if not sound.all():
            numbers[~sound] = 0.0
        turn = np.fmod(numbers, self.period) / self.period
        sine, cosine = sine_cosine(turn - np.rint(turn))
        out[:, 0] = np.rint(sine * GRID_ONE)
        out[:, 1] = np.rint(cosine * GRID_ONE)
        return sound

    def to_plain(self) -> dict[str, object]:
        """Give the JSON value."""
        return {"name": self.name, "kind": "cyclic", "period": self.period}


@dataclass(frozen=True, slots=True)
class StandardisedFeature:
    """A number without bounds, as deviations from a mean; width 1.

    Both constants are the policy's, so that a number means the same as long as the statistics do.
    """

    name: str
    """Context field."""
    mean: float
    """What becomes 0."""
    deviation: float
    """What becomes a step of 1; any finite value is accepted, and 8 deviations or more count as just below 8."""

    @property
    def width(self) -> int:
        """Entries in the context vector."""
        return 1

    def encode(self, value: object) -> tuple[int, ...]:
        """Scale, clip to the grid and round half to even."""
        scaled = (_finite(self.name, value) - self.mean) / self.deviation * GRID_ONE
        return (round(min(max(scaled, -FEATURE_LIMIT), FEATURE_LIMIT)),)

    def encode_column(self, values: Sequence[object], out: NDArray[np.int16]) -> NDArray[np.bool_]:
        """Encode `values` (m,) into `out` (m, 1); return which rows are sound (the others get 0)."""
        numbers = _floats(values)
        sound = np.isfinite(numbers)
        if not sound.all():
            numbers[~sound] = self.mean
        with np.errstate(over="ignore"):  # infinitely many deviations are clipped as 8 are
            numbers -= self.mean
            numbers /= self.deviation
            numbers *= GRID_ONE
        out[:, 0] = np.rint(numbers.clip(-FEATURE_LIMIT, FEATURE_LIMIT))
        return sound

    def to_plain(self) -> dict[str, object]:
        """Give the JSON value."""
        return {"name": self.name, "kind": "standardised", "mean": self.mean, "deviation": self.deviation}


Feature = NumericFeature | LogarithmicFeature | CategoricalFeature | CyclicFeature | StandardisedFeature


def _floats(values: Sequence[object]) -> NDArray[np.float64]:
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


def _finite(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong_type(name, value, "a number")
    try:
        number = float(value)
    except OverflowError:
        raise _out_of_bounds(name, value, "a number that float64 can hold") from None
    if not isfinite(number):
        raise InvalidRecordError("feature-not-finite", f"{name} is {number!r}, expected a finite number")
    return number


def _wrong_type(name: str, value: object, expected: str) -> InvalidRecordError:
    return InvalidRecordError(
        "wrong-feature-type", f"{name} is {shown(value)} ({type(value).__name__}), expected {expected}"
    )


def _out_of_bounds(name: str, value: object, expected: str) -> InvalidRecordError:
    return InvalidRecordError("feature-out-of-bounds", f"{name} is {shown(value)}, expected {expected}")
