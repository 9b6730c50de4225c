"""A word from a known list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InvalidRecordError
from pipeline.policy.kinds.values import GRID_ONE, wrong_type
from pipeline.policy.render_value import shown


@dataclass(frozen=True, slots=True)
class CategoricalFeature:
    """A word from a known list, as one-hot entries, with one more for all other words where there is to be one."""

    name: str
    """Context field."""
    values: tuple[str, ...]
    """Known words; the position gives the entry that is 1."""
    has_other: bool = False
    """Whether any other word counts in an entry behind theirs; else it is refused."""
    _positions: Mapping[str, int] = field(init=False, repr=False, compare=False)
    """Word → position."""

    def __post_init__(self) -> None:
        positions = {word: position for position, word in enumerate(self.values)}
        object.__setattr__(self, "_positions", positions)

    @property
    def width(self) -> int:
        """Entries in the context vector."""
        return len(self.values) + self.has_other

    def encode(self, value: object) -> tuple[int, ...]:
        """Give 1 at the word's position and 0 elsewhere; a word not listed is refused, or has the last."""
        if not isinstance(value, str):
            raise wrong_type(self.name, value, "a string")
        position = self._positions.get(value, -1)
        if position < 0 and not self.has_other:
            raise InvalidRecordError(
                "unknown-category", f"{self.name} is {shown(value)}, expected one of {shown(self.values)}"
            )
        entries = [0] * self.width
        entries[position] = GRID_ONE  # -1 is the last
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
        if self.has_other:
            sound |= np.fromiter((isinstance(value, str) for value in values), np.bool_, len(values))
        out[np.flatnonzero(sound), positions[sound]] = GRID_ONE
        return sound

    @property
    def texts(self) -> frozenset[str]:
        """Words that the policy names."""
        return frozenset(self.values)

    def possible(self, bits: int) -> int:  # noqa: ARG002  a category is as fine as ever
        """Return how many distinct entries there are in steps of 2^-bits."""
        return self.width

    def to_plain(self) -> dict[str, object]:
        """Give the JSON value."""
        other = {"other": True} if self.has_other else {}
        return {"name": self.name, "kind": "categorical", "values": list(self.values), **other}
