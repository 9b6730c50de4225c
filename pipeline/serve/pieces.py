"""A long work as a generator: a piece takes a fraction of a millisecond, what it returns is what was asked for. Pure.

Whoever drives it may do something else between two pieces, or close it where nobody waits for it any more.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

Made = TypeVar("Made")
Pieces = Generator[None, None, Made]


def exhausted(pieces: Pieces[Made]) -> Made:
    """Do all of it at once.

    >>> def answer():
    ...     yield
    ...     return 42
    >>> exhausted(answer())
    42
    """
    while True:
        try:
            next(pieces)
        except StopIteration as end:
            made: Made = end.value
            return made
