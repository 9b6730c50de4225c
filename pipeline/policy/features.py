"""Context → context vector: int16 on the grid, entry 0 an intercept of 1, the features in order, their interactions.

An interaction of two features is every entry of the one times every entry of the other. With an encoder, what it makes
of that vector instead (`encoder.py`).

Encoded once, when deciding; whatever learns from the decision uses these integers, so a statistic never
depends on a rounding made twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, chain
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InvalidRecordError, RecordError, StateError
from pipeline.models.grid import FEATURE_BITS, FEATURE_LIMIT, features_from_grid
from pipeline.policy.encoder import Encoder
from pipeline.policy.kinds import GRID_ONE, ClockFeature, Feature, NumericFeature, OptionalFeature
from pipeline.policy.kinds.values import MISSING, NUMBER_TYPES, missing

INTERCEPT = "intercept"


@dataclass(frozen=True, slots=True)
class FeatureSchema:
    """The features of a policy, in order."""

    features: tuple[Feature, ...] = ()
    """Features; none gives an empty context vector, without intercept."""
    encoder: Encoder | None = None
    """A network over them, if one was trained."""
    interactions: tuple[tuple[str, str], ...] = ()
    """Names of the features whose products are entries too."""
    raw_dimension: int = field(init=False, compare=False)
    """Entries of the features' own vector, with their interactions."""
    dimension: int = field(init=False, compare=False)
    """Entries of the context vector, d."""
    _numbers: _Numbers | None = field(init=False, compare=False, repr=False)
    """The numeric features, where there are several: encoded side by side."""
    _others: tuple[tuple[Feature, int], ...] = field(init=False, compare=False, repr=False)
    """The features beside those, with where each begins."""
    _pairs: tuple[tuple[slice, slice], ...] = field(init=False, compare=False, repr=False)
    """The entries whose products are entries too."""
    _clocks: tuple[ClockFeature, ...] = field(init=False, compare=False, repr=False)
    """Those that nobody has to send."""

    def __post_init__(self) -> None:
        starts = list(accumulate((feature.width for feature in self.features), initial=1))
        placed = tuple(zip(self.features, starts, strict=False))
        numeric = [
            (feature, start) for feature, start in placed if isinstance(feature, NumericFeature) and not feature.clips
        ]
        several = len(numeric) > 1
        entries = {feature.name: slice(start, start + feature.width) for feature, start in placed}
        pairs = tuple((entries[left], entries[right]) for left, right in self.interactions)
        raw = starts[-1] if self.features else 0
        raw += sum((left.stop - left.start) * (right.stop - right.start) for left, right in pairs)
        object.__setattr__(self, "raw_dimension", raw)
        object.__setattr__(self, "dimension", raw if self.encoder is None else self.encoder.dimension)
        object.__setattr__(self, "_numbers", _Numbers(numeric) if several else None)
        together = [feature for feature, _ in numeric] if several else []
        object.__setattr__(self, "_others", tuple(one for one in placed if one[0] not in together))
        object.__setattr__(self, "_pairs", pairs)
        clocks = tuple(feature for feature in self.features if isinstance(feature, ClockFeature))
        object.__setattr__(self, "_clocks", clocks)

    def filled(self, context: Mapping[str, object], at_ms: int) -> Mapping[str, object]:
        """Return the context with what a clock shows at `at_ms`, epoch milliseconds, where it doesn't say so itself."""
        if not self._clocks:
            return context
        return {**{clock.name: clock.value(at_ms) for clock in self._clocks if clock.name not in context}, **context}

    def encode_at(
        self, contexts: Sequence[Mapping[str, object]], at_ms: Iterable[int]
    ) -> tuple[NDArray[np.int16], list[RecordError | None]]:
        """Encode m contexts of these times to (m, d), each filled, as `encode_many` does."""
        if self._clocks:
            contexts = [self.filled(*each) for each in zip(contexts, at_ms, strict=True)]
        return self.encode_many(contexts)

    def encode(self, context: Mapping[str, object]) -> NDArray[np.int16]:
        """Encode one context to (d,); fields that are no features are ignored.

        Raises:
            InvalidRecordError: for the first feature at fault, with one of `FEATURE_REASONS`.
        """
        if not self.features:
            return np.zeros(0, dtype=np.int16)
        entries = [GRID_ONE]
        for feature in self.features:
            value = context.get(feature.name, MISSING)
            if value is MISSING and not isinstance(feature, OptionalFeature):
                raise missing(feature.name)
            entries.extend(feature.encode(value))
        vectors = self._with_products(np.array([entries], dtype=np.int16))
        vector: NDArray[np.int16] = vectors[0] if self.encoder is None else self.encoder.encode(vectors)[0]
        return vector

    def encode_many(
        self, contexts: Sequence[Mapping[str, object]]
    ) -> tuple[NDArray[np.int16], list[RecordError | None]]:
        """Encode m contexts to (m, d), column by column, with one error or None each.

        Gives the rows and the errors that `encode` gives; the row of a refused context is zero.
        """
        if len(contexts) == 1:  # columns are worth while for several
            return self._encode_one(contexts[0])
        errors: list[RecordError | None] = [None] * len(contexts)
        if not self.features or not contexts:
            return np.zeros((len(contexts), self.dimension), dtype=np.int16), errors
        own = 1 + sum(feature.width for feature in self.features)
        vectors = np.zeros((len(contexts), own), dtype=np.int16)
        vectors[:, 0] = GRID_ONE
        sound = np.ones(len(contexts), dtype=np.bool_)
        if self._numbers is not None:
            sound &= self._numbers.encode(contexts, vectors)
        for feature, start in self._others:
            stop = start + feature.width
            sound &= feature.encode_column(_column(contexts, feature.name), vectors[:, start:stop])
        vectors = self._with_products(vectors)
        if self.encoder is not None:
            vectors = self.encoder.encode(vectors)
        if not sound.all():
            for row in np.flatnonzero(~sound).tolist():
                vectors[row] = 0
                errors[row] = self._refusal(contexts[row])
        return vectors, errors

    def _encode_one(self, context: Mapping[str, object]) -> tuple[NDArray[np.int16], list[RecordError | None]]:
        try:
            return self.encode(context)[None], [None]
        except InvalidRecordError as error:
            return np.zeros((1, self.dimension), np.int16), [error.with_traceback(None)]

    @property
    def stand_in_the_vector(self) -> bool:
        """Whether there are features, and the vector begins with their entries; a trained network's stands instead."""
        return bool(self.features) and (self.encoder is None or self.encoder.kept > 1)

    def entries(self) -> list[tuple[str, slice]]:
        """Return which entries come of what: of the intercept, each feature and interaction, or an encoder's unit."""
        if self.encoder is not None:  # no unit is any one feature's
            first = self.encoder.kept
            own = self._own_entries() if first > 1 else [(INTERCEPT, slice(0, 1))]
            units = range(first, self.dimension)
            return [*own, *((f"encoder unit {place + 1 - first}", slice(place, place + 1)) for place in units)]
        return self._own_entries()

    def _own_entries(self) -> list[tuple[str, slice]]:
        widths = {INTERCEPT: 1} | {feature.name: feature.width for feature in self.features}
        widths |= {f"{left} × {right}": widths[left] * widths[right] for left, right in self.interactions}
        starts = accumulate(widths.values(), initial=0)
        return [
            (name, slice(start, start + width)) for (name, width), start in zip(widths.items(), starts, strict=False)
        ]

    def to_plain(self) -> list[dict[str, object]]:
        """Give the JSON value of the features; interactions and the encoder have keys of their own."""
        return [feature.to_plain() for feature in self.features]

    def parts(self) -> dict[str, object]:
        """Give all that a context vector is a function of, beside the context, by the keys of the TOML file."""
        products = {"interactions": [list(pair) for pair in self.interactions]} if self.interactions else {}
        encoder = {} if self.encoder is None else {"encoder": self.encoder.to_plain()}
        return {"context": self.to_plain(), **products, **encoder}

    def hashed(self) -> object:
        """Give the JSON value that names this encoding: a vector of another is never mixed with it."""
        return self.to_plain() if self.encoder is None and not self.interactions else self.parts()

    def _with_products(self, vectors: NDArray[np.int16]) -> NDArray[np.int16]:
        """Put the interactions' entries behind the features' (m, 1 + widths), rounded half to even, within the grid."""
        if not self._pairs:
            return vectors
        wide = vectors.astype(np.float64)
        products = [
            np.ldexp(wide[:, left, None] * wide[:, None, right], -FEATURE_BITS).reshape(len(wide), -1)
            for left, right in self._pairs
        ]
        crossed = np.rint(np.concatenate(products, axis=1)).clip(-FEATURE_LIMIT, FEATURE_LIMIT)
        return np.concatenate((vectors, crossed.astype(np.int16)), axis=1)

    def _refusal(self, context: Mapping[str, object]) -> RecordError:
        # The columns only say that something is wrong; `encode` says what, so the two can't disagree.
        try:
            self.encode(context)
        except InvalidRecordError as error:
            return error.with_traceback(None)
        raise StateError(f"encode accepts what encode_column refused: {context!r}")


class _Numbers:
    """Several numeric features: what `NumericFeature.encode_column` does to each column, to all of them at once."""

    def __init__(self, placed: Sequence[tuple[NumericFeature, int]]) -> None:
        self._placed = placed
        self._take = itemgetter(*(feature.name for feature, _ in placed))
        self._columns = np.array([start for _, start in placed])
        self._low = np.array([feature.low for feature, _ in placed])
        self._high = np.array([feature.high for feature, _ in placed])
        self._span = self._high - self._low

    def encode(self, contexts: Sequence[Mapping[str, object]], vectors: NDArray[np.int16]) -> NDArray[np.bool_]:
        """Encode the features' entries of `vectors`; return which rows are sound (the others get anything)."""
        numbers = self._read(contexts)
        if numbers is None:  # something is missing, or is no number: column by column it shows where
            sound = np.ones(len(contexts), dtype=np.bool_)
            for feature, start in self._placed:
                sound &= feature.encode_column(_column(contexts, feature.name), vectors[:, start : start + 1])
            return sound
        within: NDArray[np.bool_] = (numbers >= self._low) & (numbers <= self._high)
        is_sound: NDArray[np.bool_] = np.logical_and.reduce(within, axis=1)
        if not is_sound.all():
            numbers = np.where(within, numbers, self._low)
        numbers -= self._low
        numbers /= self._span
        # (2 q - 1) 2^12, as one value is encoded: powers of two round nothing.
        numbers *= 2.0 * GRID_ONE
        numbers -= GRID_ONE
        vectors[:, self._columns] = np.rint(numbers, out=numbers)
        return is_sound

    def _read(self, contexts: Sequence[Mapping[str, object]]) -> NDArray[np.float64] | None:
        try:
            rows = list(map(self._take, contexts))
            # numpy would read True as 1.0 and "7" as 7.0, so the types are looked at first.
            if NUMBER_TYPES.issuperset(map(type, chain.from_iterable(rows))):
                return np.array(rows, dtype=np.float64)
        except (KeyError, OverflowError):
            pass
        return None


def decode(x_int: NDArray[np.int16]) -> NDArray[np.float64]:
    """Give the numbers that grid entries stand for; exact.

    >>> decode(np.array([4096, -2048], dtype=np.int16)).tolist()
    [1.0, -0.5]
    """
    return features_from_grid(x_int)


def _column(contexts: Sequence[Mapping[str, object]], name: str) -> list[object]:
    try:
        return list(map(itemgetter(name), contexts))
    except KeyError:
        return [_value(context, name) for context in contexts]


def _value(context: Mapping[str, object], name: str) -> object:
    try:
        return context[name]
    except KeyError:
        return MISSING
