"""A word of an open vocabulary: signed feature hashing (Weinberger, Dasgupta, Langford, Smola and Attenberg 2009).

A word has one of n entries, with a sign, both by a hash of the feature's name and the word that every machine makes
alike. Two words may share an entry; the signs let what they do to each other be zero in the mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from pipeline.policy.kinds.values import GRID_ONE, NO_TEXTS, wrong_type

REMEMBERED = 1 << 16
"""Words whose hash is at hand."""
_NO_PLACE = (0, 0)


@dataclass(frozen=True, slots=True)
class HashedFeature:
    """Any word, in one of `slots` entries with a sign."""

    name: str
    """Context field."""
    slots: int
    """Entries."""

    @property
    def width(self) -> int:
        """Entries in the context vector."""
        return self.slots

    @property
    def texts(self) -> frozenset[str]:
        """Words that the policy names: none, so that no word of a caller's is kept for ever."""
        return NO_TEXTS

    def encode(self, value: object) -> tuple[int, ...]:
        """Give 1 or -1 in the word's entry and 0 elsewhere."""
        if not isinstance(value, str):
            raise wrong_type(self.name, value, "a string")
        slot, sign = _place(self.name, value, self.slots)
        entries = [0] * self.slots
        entries[slot] = sign
        return tuple(entries)

    def encode_column(self, values: Sequence[object], out: NDArray[np.int16]) -> NDArray[np.bool_]:
        """Encode `values` (m,) into `out` (m, slots); return which rows are sound (the others get 0)."""
        places = [_place(self.name, one, self.slots) if isinstance(one, str) else _NO_PLACE for one in values]
        slots, signs = np.array(places, np.int16).reshape(-1, 2).T
        out[np.arange(len(places)), slots] = signs
        sound: NDArray[np.bool_] = signs != 0
        return sound

    def possible(self, bits: int) -> int:  # noqa: ARG002  as fine as ever
        """Return how many distinct entries there are in steps of 2^-bits."""
        return 2 * self.slots

    def to_plain(self) -> dict[str, object]:
        """Give the JSON value."""
        return {"name": self.name, "kind": "hashed", "slots": self.slots}


@lru_cache(REMEMBERED)
def _place(name: str, word: str, slots: int) -> tuple[int, int]:
    """Return a word's entry, and what stands there."""
    digest = blake2b(f"{name}\0{word}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    number = int.from_bytes(digest, "little")
    return (number >> 1) % slots, GRID_ONE if number & 1 else -GRID_ONE
