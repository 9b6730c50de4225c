"""Pieces that the records of a batch share, made once and kept as long as the batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Interned(dict[K, V]):
    """Values made once for each key."""

    def __init__(self, make: Callable[[K], V]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, key: K) -> V:
        """Make the value, and keep it."""
        value = self[key] = self._make(key)
        return value
