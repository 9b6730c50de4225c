"""What every kind of feature does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Feature(Protocol):
    """One context field, as entries of the context vector."""

    @property
    def name(self) -> str:
        """Context field."""

    @property
    def width(self) -> int:
        """Entries in the context vector."""

    @property
    def texts(self) -> frozenset[str]:
        """Words that the policy names; others of callers are kept nowhere for ever."""

    def encode(self, value: object) -> tuple[int, ...]:
        """Encode one value. Raises InvalidRecordError, with one of `FEATURE_REASONS`."""

    def encode_column(self, values: Sequence[object], out: NDArray[np.int16]) -> NDArray[np.bool_]:
        """Encode `values` (m,) into `out` (m, width), which is zero; return which rows are sound."""

    def possible(self, bits: int) -> int:
        """Return how many distinct entries there are in steps of 2^-bits, at most."""

    def to_plain(self) -> dict[str, object]:
        """Give the JSON value: the keys of its table in the TOML file."""
