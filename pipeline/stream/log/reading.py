"""One partition that is read: what has come of it, and was not taken yet."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

from aiokafka import TopicPartition

from pipeline.stream.log.fetch import Batch, unpack

ENOUGH_BYTES = 2 << 20
"""Of a partition, no more is asked for while this much waits."""


class End(NamedTuple):
    """Where a log ended when a fetch was answered."""

    stable_offset: int
    """Below it every transaction is decided."""
    answered_at_ms: int


class Reading:
    """One partition, from an offset on: what has come of it and was not taken yet."""

    def __init__(
        self,
        partition: TopicPartition,
        offset: int,
        has_come: asyncio.Event,
        has_enough: asyncio.Event,
        has_room: asyncio.Event,
    ) -> None:
        self.partition = partition
        self.position = offset
        """What is asked for next."""
        self.end: End | None = None
        """None before the first answer."""
        self.taken = offset
        """Below it, all was taken."""
        self._has_come = has_come
        self._has_enough = has_enough
        self._has_room = has_room
        self._waiting: deque[Any] = deque()
        self._waiting_bytes = 0
        self._gone = 0
        self._fault: Exception | None = None
        self._came: deque[tuple[int, float]] = deque()
        """Of what is not handled yet: (the offset behind it, when it came), an entry for each answer."""

    @property
    def is_wanted(self) -> bool:
        """Whether more is to be asked for."""
        return self._waiting_bytes < ENOUGH_BYTES and not self._gone and self._fault is None

    @property
    def waiting_bytes(self) -> int:
        """How much was fetched and is not taken."""
        return self._waiting_bytes

    @property
    def has_waiting(self) -> bool:
        """Whether there is something to take."""
        return self.position > self.taken or self._fault is not None

    def put(self, batches: Sequence[Any], resume_offset: int, size: int = 0) -> None:
        """Take in what a fetch brought."""
        if resume_offset == self.position:
            return
        self._waiting.extend(batches)
        self._waiting_bytes += size
        self.position = resume_offset
        self._came.append((resume_offset, time.monotonic()))
        self._has_come.set()
        if not self.is_wanted:
            self._has_enough.set()

    def note_handled(self) -> None:
        """Note that all that was taken is done with."""
        while self._came and self._came[0][0] <= self.taken:
            self._came.popleft()

    @property
    def waits_s(self) -> float:
        """How long the oldest has been here of what is not handled; 0 where nothing is."""
        return time.monotonic() - self._came[0][1] if self._came else 0.0

    def fail(self, fault: Exception) -> None:
        """Let whoever takes next know that it can't go on."""
        self._fault = fault
        self._has_come.set()

    def pass_over(self, first_offset: int) -> None:
        """Go on at the first offset that is kept; what is gone is taken with what came before it."""
        self._gone = first_offset - self.position
        self.position = first_offset
        self._has_come.set()

    def take(self) -> Batch | None:
        """Return all that waits as one batch; None where nothing does.

        Raises:
            Exception: what keeps the log from being read on.
        """
        first = self.taken
        if first == self.position:
            if self._fault is not None:
                raise self._fault
            return None
        records = unpack(self._waiting, first)
        behind, gone = self.position, self._gone
        if self._waiting:  # more than is taken at once
            behind, gone = self._waiting[0].base_offset, 0
            self._has_come.set()
        else:
            self._waiting_bytes = self._gone = 0
            self._has_room.set()
        self.taken = behind
        answered_at_ms = self.end.answered_at_ms if self.end else 0
        return Batch(self.partition.topic, self.partition.partition, first, records, behind, gone, answered_at_ms)
