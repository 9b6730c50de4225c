"""The partitions of one stage that this worker has opened since they were assigned."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Generic, Protocol, TypeVar

from pipeline.stream.log.sources import Resumption
from pipeline.stream.state.durable import DurablePartition


class InMemory(Protocol):
    """What a stage keeps in memory of a partition."""

    held: DurablePartition

    def positions(self) -> Mapping[str, int]:
        """Return, by topic, the first offset that is not in the state."""

    def resume(self, found: Mapping[str, Resumption]) -> dict[bytes, bytes | None]:
        """Go on from there; return the rows that say so."""


class Opens(Protocol):
    """What opens the partitions of a table: `stream/state/restore.py`."""

    async def open(self, number: int) -> DurablePartition:
        """Claim and restore a partition."""


T = TypeVar("T", bound=InMemory)


async def _approve(_partition: InMemory) -> None:
    """Find nothing wrong with what was restored."""


class Partitions(Generic[T]):
    """Opened once each, on first use, by whoever comes first; closed when partitions are taken away, not before."""

    def __init__(
        self,
        open_partition: Callable[[int], Awaitable[DurablePartition]],
        load: Callable[[DurablePartition], T],
        check: Callable[[T], Awaitable[None]] = _approve,
    ) -> None:
        self._open_partition = open_partition
        self._load = load
        self._check = check
        self._opening: dict[int, asyncio.Future[T]] = {}
        self._closing: set[asyncio.Future[None]] = set()

    async def open(self, number: int) -> T:
        """Return a partition; the first time it is claimed, restored, loaded, and its logs are looked at."""
        if number not in self._opening:
            self._opening[number] = asyncio.ensure_future(self._first_open(number))
        return await asyncio.shield(self._opening[number])

    def known(self, number: int) -> T:
        """Return a partition that is open."""
        return self._opening[number].result()

    def __iter__(self) -> Iterator[T]:
        """Yield those that are open."""
        return (
            future.result()
            for future in self._opening.values()
            if future.done() and not future.cancelled() and future.exception() is None
        )

    @property
    def numbers(self) -> frozenset[int]:
        """Those that are open, or about to be."""
        return frozenset(self._opening)

    async def settle(self) -> None:
        """Let what is being opened come to an end, and forget what could not be: no claim is on its way after this."""
        if self._opening:
            await asyncio.wait(self._opening.values())
        failed = [number for number, opening in self._opening.items() if opening.cancelled() or opening.exception()]
        await self.close(*failed)

    async def close_all(self) -> None:
        """Give all of them back."""
        await self.close(*self._opening)

    async def close(self, *numbers: int) -> None:
        """Give some back. Whoever is cancelled meanwhile leaves them to be closed all the same."""
        opened = [self._opening.pop(number) for number in numbers if number in self._opening]
        closing = {asyncio.ensure_future(_close(opening)) for opening in opened}
        self._closing |= closing
        for task in closing:
            task.add_done_callback(self._closing.discard)
        if closing:
            await asyncio.shield(asyncio.gather(*closing))

    async def _first_open(self, number: int) -> T:
        held = await self._open_partition(number)
        try:
            partition = self._load(held)
            await self._check(partition)
            found = await held.sources.confirm(partition.positions())
            rows = partition.resume(found)
            if held.sources.is_changed:
                # Durable before anything is read: from here on, another log is told from this one.
                await held.make_durable({}, rows)
        except BaseException:
            await held.close()
            raise
        return partition


async def _close(opening: asyncio.Future[T]) -> None:
    """Close what was opened; what could not be is not there."""
    await asyncio.wait({opening})
    if not opening.cancelled() and opening.exception() is None:
        await opening.result().held.close()
