"""What a rebalance takes away is closed; what stays is left open: rows, claim and what is in memory of them.

A group that moves partitions first has all of its members stop. Only then does each hear what it has, so nobody knows
before which of its partitions stay. Here lanes rest meanwhile, and what is open stays so until the answer is there.

    generation 7: 0 1 2 3 ─▶ all rest ─▶ generation 8: 0 1 4 ─▶ close 2, 3 ─▶ lanes begin: 0, 1 go on, 4 is opened

A partition stays if this worker has it in two generations with none between them: so nobody else had it meanwhile. A
worker that was away for a generation (frozen, cut off) opens all anew, whatever it is given. And whoever opens a
partition claims it first: if this were wrong, the broker would refuse what is written by the earlier claim.
Why: ops/decisions/0062-what-stays.md.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple, Protocol

log = logging.getLogger(__name__)


class Assignment(NamedTuple):
    """What the group has given to this worker."""

    generation: int
    """Of the group: one more with each rebalance."""
    partitions: frozenset[tuple[str, int]]

    def numbers(self, topics: Iterable[str]) -> frozenset[int]:
        """Return the partition numbers of which this worker has every topic's."""
        have = [{number for topic, number in self.partitions if topic == one} for one in topics]
        return frozenset(set.intersection(*have)) if have else frozenset()


NOTHING = Assignment(-1, frozenset())


def staying(before: Assignment, after: Assignment) -> Assignment:
    """Return what nobody else can have had between two assignments.

    >>> before = Assignment(7, frozenset({("rewards", 0), ("rewards", 1)}))
    >>> staying(before, Assignment(8, frozenset({("rewards", 1), ("rewards", 2)}))).numbers(["rewards"])
    frozenset({1})
    >>> staying(before, Assignment(9, frozenset({("rewards", 1)}))).numbers(["rewards"])
    frozenset()
    """
    is_next = after.generation == before.generation + 1
    return Assignment(after.generation, before.partitions & after.partitions if is_next else frozenset())


class Rooms(Protocol):
    """The lanes of one stage."""

    @property
    def stage(self) -> Any:
        """The stage."""

    @property
    def topics(self) -> Sequence[str]:
        """What it reads."""

    async def keep(self, numbers: Collection[int], /) -> None:
        """Close what is open, but for these."""


class Handover:
    """What this worker has, from one rebalance to the next."""

    def __init__(self) -> None:
        self._has = NOTHING

    async def assigned(self, generation: int, partitions: Iterable[tuple[str, int]], lanes: Iterable[Rooms]) -> None:
        """Close what does not stay; all lanes rest."""
        before, self._has = self._has, Assignment(generation, frozenset((topic, n) for topic, n in partitions))
        stays = staying(before, self._has)

        async def close(one: Rooms) -> None:
            kept = stays.numbers(one.topics)
            log.info(
                "partitions-assigned stage=%s generation=%s had=%s has=%s kept=%s",
                one.stage.name,
                generation,
                sorted(before.numbers(one.topics)),
                sorted(self._has.numbers(one.topics)),
                sorted(kept),
            )
            await one.keep(kept)

        await asyncio.gather(*map(close, lanes))
