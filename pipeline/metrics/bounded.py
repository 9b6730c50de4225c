"""Counts by labels, of which there are never more than a bound: strangers and large policies name what they like."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

OTHERS = "(others)"
"""Stands for each label of what came after the bound was reached; no policy, segment or arm may be named so."""


class BoundedCounts:
    """Counts by a row of labels; those that come after `most` others are counted together.

    >>> counts = BoundedCounts(most=1)
    >>> for name in ("homepage", "checkout", "homepage", "search"):
    ...     counts.add((name, "new"))
    >>> dict(counts)
    {('homepage', 'new'): 2, ('(others)', '(others)'): 2}
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._counts: dict[tuple[str, ...], int] = {}
        self.beyond = 0
        """What was counted under no name of its own."""
        self._width = 1

    def add(self, labels: tuple[str, ...], count: int = 1) -> None:
        """Count; costs two look-ups."""
        counts = self._counts
        if labels in counts:
            counts[labels] += count
        elif len(counts) < self._most:
            counts[labels] = count
            self._width = len(labels)
        else:
            self.beyond += count

    def __iter__(self) -> Iterator[tuple[tuple[str, ...], int]]:
        """Yield labels and counts; the others last, where there are any."""
        others = [((OTHERS,) * self._width, self.beyond)] if self.beyond else []
        return chain(list(self._counts.items()), others)
