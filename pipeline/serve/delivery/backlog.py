"""What waits for one partition that takes nothing while others do: on disk, else in memory, oldest first.

It may still be in flight when it is put here, and be acknowledged after all: it is not sent again then.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from pipeline.serve.delivery.frames import Parcel
from pipeline.serve.delivery.spill import Spill


class Acknowledged:
    """Records that were acknowledged and still stand in a file, from which they are not to be sent again."""

    def __init__(self) -> None:
        self._parcels: Counter[Parcel] = Counter()
        self._in_flight: set[asyncio.Future[Any]] = set()

    def note(self, parcels: Iterable[Parcel]) -> None:
        """Remember records until they are met."""
        self._parcels.update(parcels)

    def watch(self, sent: asyncio.Future[Any], parcels: Sequence[Parcel]) -> None:
        """Remember records if their batch is acknowledged."""
        self._in_flight.add(sent)
        sent.add_done_callback(partial(self._end, parcels))

    async def settled(self) -> None:
        """Wait until it is known of every watched batch."""
        if self._in_flight:
            await asyncio.wait(self._in_flight)

    def part(self, parcels: Iterable[Parcel]) -> tuple[list[Parcel], list[Parcel]]:
        """Return what is to be sent, and what was acknowledged, which is forgotten."""
        wanted: list[Parcel] = []
        known: list[Parcel] = []
        for parcel in parcels:
            if self._parcels and self._parcels[parcel] > 0:
                self._parcels[parcel] -= 1
                known.append(parcel)
            else:
                wanted.append(parcel)
        self._parcels = +self._parcels
        return wanted, known

    def _end(self, parcels: Sequence[Parcel], sent: asyncio.Future[Any]) -> None:
        self._in_flight.discard(sent)
        if not sent.cancelled() and sent.exception() is None:
            self.note(parcels)


class Backlog:
    """The records of one partition."""

    def __init__(self, spill: Spill | None) -> None:
        self.acknowledged = Acknowledged()
        self.held_bytes = 0
        """What those in memory take up."""
        self._spill = spill
        self._held: deque[Parcel] = deque()
        self._taken = 0
        """Of those in memory `next_round` gave so many."""

    @property
    def held(self) -> int:
        """How many are in memory."""
        return len(self._held)

    def __bool__(self) -> bool:
        return bool(self._held) or (self._spill is not None and self._spill.records > 0)

    def put(self, parcel: Parcel, room_bytes: float) -> bool:
        """Take a record; return whether there was room for it."""
        if self._spill is not None and self._spill.append(parcel):
            return True
        if parcel.size > room_bytes:
            return False
        self._held.append(parcel)
        self.held_bytes += parcel.size
        return True

    def next_round(self, records: int, size: int) -> list[Parcel]:
        """Return some records.

        Raises:
            UnavailableError: the disk can't be read now; nothing has changed.
        """
        self._taken = 0
        if self._spill is not None and (parcels := self._spill.next_round(records, size)):
            return parcels
        for parcel in self._held:
            size -= parcel.size
            if self._taken and (size < 0 or self._taken == records):
                break
            self._taken += 1
        return [self._held[number] for number in range(self._taken)]

    def settle(self) -> None:
        """Let go of what `next_round` gave."""
        if not self._taken and self._spill is not None:
            self._spill.settle()
        for _ in range(self._taken):
            self.held_bytes -= self._held.popleft().size
        self._taken = 0

    def keep(self) -> int:
        """Move to the disk what is in memory, as far as there is room; return how many find none."""
        while self._held and self._spill is not None and self._spill.append(self._held[0]):
            self.held_bytes -= self._held.popleft().size
        return len(self._held)
