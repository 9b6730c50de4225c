"""Work on open partitions beside their lanes: snapshots, ticks. One task a partition, and none waits for another.

What goes wrong is its lane's matter: the lane fails, and begins anew from what is durable. Whoever closes a partition
lets its chores come to an end first; one that a broker keeps waiting is cut off, as a crash would.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from pipeline.errors import StateError
from pipeline.stream.log.lanes import REST_WITHIN_S, Lanes, crash

LOOK_AGAIN_S = 0.02
"""At what is due, while some of it is at work."""


class Chores:
    """One kind of work on each partition that a stage has open."""

    def __init__(
        self,
        lanes: Lanes,
        owned: Callable[[], Iterable[int]],
        pause: Callable[[], Awaitable[None]],
        work: Callable[[int], Awaitable[None]],
        *,
        waits: bool = True,
    ) -> None:
        """Say what it is.

        Args:
            lanes: of the stage; those of a partition that is not open rest.
            owned: gives the partitions to look at.
            pause: waits until something may be due.
            work: does what is due of a partition.
            waits: whether who lets it rest waits for what is at work; if not, that is cut off, which harms nothing.
        """
        self._lanes = lanes
        self._owned = owned
        self._pause = pause
        self._work = work
        self._waits = waits
        self._at_work: dict[int, asyncio.Task[None]] = {}
        lanes.chores.append(self)

    async def run(self) -> None:
        """Work after each pause, until cancelled."""
        while True:
            await self._pause()
            for number in self._owned():
                if number not in self._at_work and self._lanes.is_open(number):
                    self._begin(number)
            await asyncio.sleep(0)  # in which whatever has nothing to do ends
            # What is due and at work would let no pause be long.
            if busy := [task for task in self._at_work.values() if not task.done()]:
                await asyncio.wait(busy, timeout=LOOK_AGAIN_S, return_when=asyncio.FIRST_COMPLETED)

    async def rest(self, *numbers: int) -> frozenset[int]:
        """Let the work on some partitions, or on all, come to an end; return those where it was cut off."""
        tasks = {number: task for number, task in self._at_work.items() if not numbers or number in numbers}
        if not tasks:
            return frozenset()
        await asyncio.wait(tasks.values(), timeout=REST_WITHIN_S if self._waits else 0)
        for task in tasks.values():
            task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)
        return frozenset(number for number, task in tasks.items() if task.cancelled() and self._waits)

    def _begin(self, number: int) -> None:
        task = asyncio.create_task(self._attempt(number))
        self._at_work[number] = task
        task.add_done_callback(lambda _: self._at_work.pop(number))

    async def _attempt(self, number: int) -> None:
        try:
            await self._work(number)
        except StateError as error:
            crash(self._work, error)
        except Exception as error:  # noqa: BLE001  whatever it is
            self._lanes.fail(number, error)
