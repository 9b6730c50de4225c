"""Run a stage's handler over its stream; never lose an exception, and never let partitions wait for each other.

Batches of one partition are handled one after the other, in a lane of their own; those of different partitions
overlap, so that one's round trips to the broker are another's time to compute.

Faust acknowledges an event whose agent raised, and commits on its way down. So a handler's exception ends the
process here, before anything is acknowledged: the next worker reads the same records again.

A batch that does not begin where the stage's state ends is not taken: the partition is rewound to the state's position.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from faust.types import TP

from pipeline.stream.batch import Batch, BatchConsumer

log = logging.getLogger(__name__)

EXIT_CRASHED = 70
WAITING_BATCHES = 2
"""A lane takes this many batches before the stage stops reading."""


class Stage(Protocol):
    """JOIN, LEARN or PUBLISH."""

    name: str

    async def open(self, number: int) -> Any:
        """Claim, restore and load a partition, unless that was done since it was assigned."""

    def position(self, topic: str, partition: int) -> int:
        """Return the first offset that is not in the partition's state."""

    async def handle(self, batch: Batch) -> None:
        """Do all that comes of a batch, durably."""


async def consume(
    stream: Any, consumer: BatchConsumer, stage: Stage, observe: Callable[[float], None] = lambda _: None
) -> None:
    """Hand each batch to the stage; acknowledge it when everything that came of it is durable.

    Args:
        stream: gives batches.
        consumer: acknowledges them.
        stage: handles them.
        observe: told how many seconds each took.
    """
    lanes: dict[int, asyncio.Queue[Any]] = {}
    running: list[asyncio.Task[None]] = []
    try:
        async for event in stream.noack().events():
            partition = event.message.partition
            if partition not in lanes:
                lanes[partition] = asyncio.Queue(WAITING_BATCHES)
                running.append(asyncio.create_task(_Lane(consumer, stage, observe).run(lanes[partition])))
            await lanes[partition].put(event)
    finally:
        for lane in running:
            lane.cancel()


class _Lane:
    """The batches of one partition number, one after the other."""

    def __init__(self, consumer: BatchConsumer, stage: Stage, observe: Callable[[float], None]) -> None:
        self._consumer = consumer
        self._stage = stage
        self._observe = observe
        self._rewound: dict[str, tuple[int, int, int]] = {}
        """By topic: the offset last rewound to, what was found there before, and the epoch that began with it."""

    async def run(self, events: asyncio.Queue[Any]) -> None:
        """Handle batches until cancelled."""
        while True:
            event = await events.get()
            try:
                is_handled = await self._handle(event.message)
            except asyncio.CancelledError:
                raise
            except BaseException as error:  # noqa: BLE001  whatever it is, it must not reach Faust
                crash(self._stage.handle, error)
            if is_handled:
                self._consumer.app.reach(f"{self._stage.name}.batch-done")
                event.ack()
            else:
                self._consumer.put_back(event.message)

    async def _handle(self, message: Any) -> bool:
        batch: Batch = message.value
        tp = TP(batch.topic, batch.partition)
        epoch = self._consumer.epoch(tp)
        # What was fetched before a rebalance may be another worker's now: to open it would take it away from there.
        if batch.epoch != epoch or message.generation_id != self._consumer.app.consumer_generation_id:
            return False
        await self._stage.open(batch.partition)
        position, first = self._stage.position(batch.topic, batch.partition), batch.records[0].offset
        # Found again by a second reading, a gap is in the log itself: markers of transactions, records that compaction
        # or retention removed.
        if first > position and self._rewound.get(batch.topic) != (position, first, epoch):
            log.info("rewound topic=%s partition=%s from=%s to=%s", batch.topic, batch.partition, first, position)
            self._rewound[batch.topic] = (position, first, epoch + 1)
            await self._consumer.rewind(tp, position)
            return False
        began_s = time.monotonic()
        await self._stage.handle(batch)
        self._observe(time.monotonic() - began_s)
        return True


async def keep_running(loop: Callable[[], Awaitable[None]]) -> None:
    """Run a background loop; its failure ends the process like a handler's."""
    try:
        await loop()
    except asyncio.CancelledError:
        raise
    except BaseException as error:  # noqa: BLE001
        crash(loop, error)


def crash(where: Callable[..., Any], error: BaseException) -> None:
    """Say what happened and end the process without acknowledging or committing anything."""
    log.critical("stage-crashed where=%s error=%r", getattr(where, "__qualname__", where), error, exc_info=error)
    logging.shutdown()
    os._exit(EXIT_CRASHED)
