"""The partitions that take nothing while others do: each has a backlog, and a task that tries it again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Any

from aiokafka.errors import KafkaError

from pipeline.errors import UnavailableError
from pipeline.serve.delivery.backlog import Backlog
from pipeline.serve.delivery.batch_sender import ROUND_BYTES, ROUND_RECORDS, Destination, send_round
from pipeline.serve.delivery.frames import Parcel
from pipeline.serve.delivery.spill_folder import SpillFolder

log = logging.getLogger(__name__)

RETRY_S = 0.1
LONGEST_RETRY_S = 5.0

Settled = Callable[[list[Parcel], list[Parcel]], None]
"""(acknowledged, refused for good) → nothing."""


class StuckPartitions:
    """Their backlogs; `in` says whether a partition is one of them."""

    def __init__(self, spill: SpillFolder | None, settled: Settled) -> None:
        """Take what an earlier process left; `settled` is told what became of records."""
        self._spill = spill
        self._settled = settled
        self._backlogs: dict[Destination, Backlog] = {}
        self._trying: dict[Destination, asyncio.Task[None]] = {}
        for destination in () if spill is None else list(spill.destinations()):
            self._backlog(destination)

    def __contains__(self, destination: object) -> bool:
        return destination in self._backlogs

    @property
    def destinations(self) -> list[Destination]:
        """Which they are."""
        return sorted(self._backlogs)

    @property
    def held(self) -> int:
        """How many records are in memory."""
        return sum(backlog.held for backlog in self._backlogs.values())

    @property
    def held_bytes(self) -> int:
        """What those take up."""
        return sum(backlog.held_bytes for backlog in self._backlogs.values()) if self._backlogs else 0

    def watch(self, destination: Destination, sent: asyncio.Future[Any], parcels: list[Parcel]) -> None:
        """Look how a batch ends that is still in flight: what it delivers does not go again."""
        self._backlog(destination).acknowledged.watch(sent, parcels)

    def put(self, destination: Destination, parcels: Iterable[Parcel], room_bytes: float) -> list[Parcel]:
        """Take records; return those that found no room on disk, nor so much of it in memory."""
        backlog = self._backlog(destination)
        return [parcel for parcel in parcels if not backlog.put(parcel, room_bytes - self.held_bytes)]

    def tries(self, destination: Destination) -> bool:
        """Whether a partition is tried again already."""
        return destination in self._trying

    def begin(self, producer: Any, *destinations: Destination) -> None:
        """Try some of them again, or all, until they are through."""
        for destination in destinations or self.destinations:
            trying = self._work_off(producer, destination, self._backlogs[destination])
            self._trying[destination] = asyncio.create_task(trying)

    async def rest(self) -> None:
        """Try no more."""
        for task in self._trying.values():
            task.cancel()
        await asyncio.gather(*self._trying.values(), return_exceptions=True)
        self._trying.clear()

    def keep(self) -> int:
        """Move to the disk what is in memory, as far as there is room, and forget the rest; return how much that is."""
        lost = sum(backlog.keep() for backlog in self._backlogs.values())
        self._backlogs.clear()
        return lost

    def _backlog(self, destination: Destination) -> Backlog:
        if destination not in self._backlogs:
            self._backlogs[destination] = Backlog(None if self._spill is None else self._spill.of(destination))
        return self._backlogs[destination]

    async def _work_off(self, producer: Any, destination: Destination, backlog: Backlog) -> None:
        """Deliver what waits for one partition, however often it takes nothing."""
        retry_s = RETRY_S
        while backlog:
            try:
                await backlog.acknowledged.settled()
                parcels = backlog.next_round(ROUND_RECORDS, ROUND_BYTES)
                wanted, known = backlog.acknowledged.part(parcels)
                sending = await send_round(producer, wanted)
                await sending.wait(producer)
                if sending.failure is not None:
                    backlog.acknowledged.note([*known, *sending.delivered])
                    raise sending.failure
            except (KafkaError, UnavailableError):
                await asyncio.sleep(retry_s)
                retry_s = min(2 * retry_s, LONGEST_RETRY_S)
                continue
            retry_s = RETRY_S
            backlog.settle()
            self._settled([*known, *sending.delivered], sending.refused)
        log.warning("partition-works-again topic=%s partition=%s", *destination)
        del self._backlogs[destination], self._trying[destination]
        self._settled([], [])
