"""A long list, a page of it at a time. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")
PAGE = 50


class Page(NamedTuple, Generic[T]):
    """One page."""

    rows: Sequence[T]
    number: int
    """From 1."""
    pages: int
    total: int
    """Rows of all pages."""

    @property
    def first(self) -> int:
        """Number of the first row, from 1."""
        return (self.number - 1) * PAGE + 1 if self.total else 0

    @property
    def last(self) -> int:
        """Number of the last row."""
        return self.first + len(self.rows) - 1 if self.total else 0


def page_of(rows: Sequence[T], number: int) -> Page[T]:
    """Return a page; of a number that there is none of, the nearest.

    >>> page_of(range(120), 9)[1:]
    (3, 3, 120)
    """
    pages = max(1, -(-len(rows) // PAGE))
    number = min(max(1, number), pages)
    return Page(rows[(number - 1) * PAGE : number * PAGE], number, pages, len(rows))
