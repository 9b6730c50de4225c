"""Units that no data has trained: what no line follows, for a head that is linear (Rahimi & Recht 2008).

    h_u = max(0, b_u + w_uᵀ x)      w_u of one, two or three entries in turn, |w_u|₁ = 1; b_u within ±0.7

They stand beside the features, so a head may leave them out, and does so by the evidence (`standardised.py`). Entries
of features are mostly within ±1: a unit bends somewhere among what they can be.

Entries are drawn from in the order of their features' names, so in whatever order a file lists them, it decides alike.

Invariant: a function of names and widths alone, for ever: the weights are in no file, and a vector that was logged was
made by them. So they come of a hash, as `linear_ensemble`'s beginnings do.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from hashlib import sha256
from itertools import count

import numpy as np

from pipeline.models.grid import FEATURE_BITS
from pipeline.policy.encoder import Encoder, Layer

REACH = 0.7
"""Of b: beyond, a unit would be 0 or a line for most."""
TOGETHER = (1, 2, 1, 3)
"""Entries that a unit looks at; of two always at both."""


@lru_cache(maxsize=256)
def random_units(order: tuple[int, ...], units: int) -> Encoder:
    """Return an encoder that sets so many units beside entries: their places, from 1 on, in the order to draw from."""
    inputs = len(order)
    words = _uniform()
    weights = np.zeros((units, 1 + inputs), np.int16)
    for unit in range(units):
        together = TOGETHER[unit % len(TOGETHER)] if inputs > 2 else inputs
        places = _places(words, order, together)
        sizes = np.array([2.0 * next(words) - 1.0 for _ in places])
        size = float(np.abs(sizes).sum()) or 1.0
        weights[unit, 0] = round(REACH * (2.0 * next(words) - 1.0) * 2**FEATURE_BITS)
        weights[unit, places] = np.rint(sizes / size * 2**FEATURE_BITS)
    return Encoder((Layer(weights),), random=units)


def order_of(entries: list[tuple[str, slice]]) -> tuple[int, ...]:
    """Return the places of a vector's entries, the leading 1 left out, by the names of what they come of.

    >>> order_of([("intercept", slice(0, 1)), ("b", slice(1, 3)), ("a", slice(3, 4))])
    (3, 1, 2)
    """
    named = sorted(entries[1:], key=lambda one: one[0])
    return tuple(place for _, part in named for place in range(part.start, part.stop))


def _places(words: Iterator[float], order: tuple[int, ...], count: int) -> list[int]:
    left = list(order)
    return [left.pop(int(next(words) * len(left))) for _ in range(count)]


def _uniform() -> Iterator[float]:
    """Yield numbers in [0, 1), of 53 bits."""
    for place in count():
        word = int.from_bytes(sha256(f"random units {place}".encode()).digest()[:8], "big")
        yield (word >> 11) * 2.0**-53
