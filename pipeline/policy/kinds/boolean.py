"""A truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.policy.kinds.values import GRID_ONE, NO_TEXTS, wrong_type


@dataclass(frozen=True, slots=True)
class BooleanFeature:
    """True or false, as 1 or -1; width 1."""

    name: str
    """Context field."""

    @property
    def width(self) -> int:
        """Entries in the context vector."""
        return 1

    @property
    def texts(self) -> frozenset[str]:
        """Words that the policy names."""
        return NO_TEXTS

    def encode(self, value: object) -> tuple[int, ...]:
        """Give 1 or -1; 1, 0 and words are refused."""
        if not isinstance(value, bool):
            raise wrong_type(self.name, value, "true or false")
        return (GRID_ONE if value else -GRID_ONE,)

    def encode_column(self, values: Sequence[object], out: NDArray[np.int16]) -> NDArray[np.bool_]:
        """Encode `values` (m,) into `out` (m, 1); return which rows are sound (the others get -1)."""
        sound = np.fromiter((isinstance(value, bool) for value in values), np.bool_, len(values))
        is_true = np.fromiter((value is True for value in values), np.bool_, len(values))
        out[:, 0] = np.where(is_true, GRID_ONE, -GRID_ONE)
        return sound

    def possible(self, bits: int) -> int:  # noqa: ARG002  as fine as ever
        """Return how many distinct entries there are in steps of 2^-bits."""
        return 2

    def to_plain(self) -> dict[str, object]:
        """Give the JSON value."""
        return {"name": self.name, "kind": "boolean"}
