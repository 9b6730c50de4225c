"""A feature that may be missing: an entry that says so, and nothing else, in place of a refusal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.policy.kinds.feature import Feature
from pipeline.policy.kinds.values import GRID_ONE, MISSING


@dataclass(frozen=True, slots=True)
class OptionalFeature:
    """Another feature, and one entry behind its own that is 1 where the context has it not, or has null."""

    of: Feature
    """What it is where it is there."""

    @property
    def name(self) -> str:
        """Context field."""
        return self.of.name

    @property
    def width(self) -> int:
        """Entries in the context vector."""
        return self.of.width + 1

    @property
    def texts(self) -> frozenset[str]:
        """Words that the policy names."""
        return self.of.texts

    def encode(self, value: object) -> tuple[int, ...]:
        """Give the feature's entries and 0; of what is missing zeros and 1."""
        if value is MISSING or value is None:
            return (*(0,) * self.of.width, GRID_ONE)
        return (*self.of.encode(value), 0)

    def encode_column(self, values: Sequence[object], out: NDArray[np.int16]) -> NDArray[np.bool_]:
        """Encode `values` (m,) into `out` (m, width); return which rows are sound."""
        there = [row for row, value in enumerate(values) if value is not MISSING and value is not None]
        sound = np.ones(len(values), np.bool_)
        out[:, -1] = GRID_ONE
        out[there, -1] = 0
        entries = np.zeros((len(there), self.of.width), np.int16)
        sound[there] = self.of.encode_column([values[row] for row in there], entries)
        out[there, :-1] = entries
        return sound

    def possible(self, bits: int) -> int:
        """Return how many distinct entries there are in steps of 2^-bits."""
        return self.of.possible(bits) + 1

    def to_plain(self) -> dict[str, object]:
        """Give the JSON value."""
        return {**self.of.to_plain(), "missing": "indicator"}
