"""Rows of one partition → what is written at once: the rows of a policy and a day. Pure.

All that waits is written as soon as it comes to so many rows or bytes, which goes by the partition's records alone: the
same log gives the same files. A file is named by the first and the last offset in it, so no two have one name.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from pipeline.export.ledger import Row

MOST_ROWS = 32_768
MOST_BYTES = 64 << 20
"""Of the records that rows were made of."""
DAY_MS = 86_400_000


class Chunk(NamedTuple):
    """Rows of one file."""

    policy: str
    day: str
    partition: int
    first_offset: int
    last_offset: int
    rows: list[Row]

    @property
    def path(self) -> str:
        """Where it lies in its table's folder.

        >>> Chunk("homepage", "2026-11-30", 3, 17, 4711, []).path
        'policy=homepage/day=2026-11-30/00003-000000000017-000000004711.parquet'
        """
        name = f"{self.partition:05d}-{self.first_offset:012d}-{self.last_offset:012d}.parquet"
        return f"policy={self.policy}/day={self.day}/{name}"


class Chunks:
    """What waits of one partition."""

    def __init__(self, partition: int) -> None:
        self._partition = partition
        self._waiting: dict[tuple[str, int], list[tuple[int, Row]]] = {}
        self._rows = self._bytes = 0

    def add(self, policy: str, decided_at_ms: int, offset: int, row: Row, size: int) -> Iterator[Chunk]:
        """Take in a row; yield what is to be written by then."""
        self._waiting.setdefault((policy, decided_at_ms // DAY_MS), []).append((offset, row))
        self._rows += 1
        self._bytes += size
        if self._rows >= MOST_ROWS or self._bytes >= MOST_BYTES:
            yield from self.rest()

    def rest(self) -> Iterator[Chunk]:
        """Yield all that waits."""
        for (policy, day), numbered in sorted(self._waiting.items()):
            numbered.sort(key=lambda one: one[0])
            offsets = [offset for offset, _ in numbered]
            rows = [row for _, row in numbered]
            yield Chunk(policy, str(np.datetime64(day, "D")), self._partition, offsets[0], offsets[-1], rows)
        self._waiting.clear()
        self._rows = self._bytes = 0
