"""Run a stage's handler over its stream; never lose an exception, and never let partitions wait for each other.

Batches of one partition are handled one after the other, in a lane of their own; those of different partitions
overlap, so that one's round trips to the broker are another's time to compute. What comes while a lane is busy, or
before its pace allows the next step, is one batch of the next: steps grow with the load by themselves.

Faust acknowledges an event whose agent raised, and commits on its way down. So a handler's exception ends the
process here, before anything is acknowledged: the next worker reads the same records again.

A batch that does not begin where the stage's state ends is not taken: the partition is rewound to the state's position.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Protocol

from faust.types import TP

from pipeline.stream.log.fetch import Batch, BatchConsumer

log = logging.getLogger(__name__)

EXIT_CRASHED = 70
ENOUGH_BYTES = 2 << 20
"""Of a partition, no more is asked for while this much waits."""


class Stage(Protocol):
    """JOIN, LEARN or PUBLISH."""

    name: str

    async def open(self, number: int) -> Any:
        """Claim, restore and load a partition, unless that was done since it was assigned."""

    def position(self, topic: str, partition: int) -> int:
        """Return the first offset that is not in the partition's state."""

    async def handle(self, *batches: Batch) -> None:
        """Do all that comes of batches of one partition number, a topic each, durably."""


async def consume(
    stream: Any,
    consumer: BatchConsumer,
    stage: Stage,
    observe: Callable[[float], None] = lambda _: None,
    pace_s: Callable[[], float] = lambda: 0.0,
) -> None:
    """Hand each batch to the stage; acknowledge it when everything that came of it is durable.

    Args:
        stream: gives batches.
        consumer: acknowledges them.
        stage: handles them.
        observe: told how many seconds each took.
        pace_s: says how soon, of a partition, a step may begin after the one before, unless enough waits.
    """
    lanes: dict[int, _Lane] = {}
    running: list[asyncio.Task[None]] = []
    try:
        async for event in stream.noack().events():
            partition = event.message.partition
            if partition not in lanes:
                lanes[partition] = _Lane(consumer, stage, observe, pace_s)
                running.append(asyncio.create_task(lanes[partition].run()))
            lanes[partition].put(event)
    finally:
        for task in running:
            task.cancel()
        for lane in lanes.values():
            lane.let_go()


class _Lane:
    """The batches of one partition number, in rounds: what came in one, of a topic as one batch, is the next."""

    def __init__(
        self, consumer: BatchConsumer, stage: Stage, observe: Callable[[float], None], pace_s: Callable[[], float]
    ) -> None:
        self._consumer = consumer
        self._stage = stage
        self._observe = observe
        self._pace_s = pace_s
        self._waiting: list[Any] = []
        self._waiting_bytes: Counter[TP] = Counter()
        self._has_come = asyncio.Event()
        self._has_enough = asyncio.Event()
        self._rewound: dict[str, tuple[int, int, int]] = {}
        """By topic: the offset last rewound to, what was found there before, and the epoch that began with it."""

    def put(self, event: Any) -> None:
        """Take an event in, to be handled in its turn."""
        batch: Batch = event.message.value
        tp = TP(batch.topic, batch.partition)
        self._waiting.append(event)
        self._waiting_bytes[tp] += sum(len(record.value or b"") for record in batch.records)
        if self._waiting_bytes[tp] >= ENOUGH_BYTES:
            self._consumer.enough.add(tp)
            self._has_enough.set()
        self._has_come.set()

    async def run(self) -> None:
        """Handle batches until cancelled."""
        while True:
            await self._has_come.wait()
            began_s = time.monotonic()
            for groups in rounds(self._take_waiting()):
                await self._run(groups)
            await self._rest(began_s + self._pace_s() - time.monotonic())

    async def _rest(self, seconds: float) -> None:
        if seconds > 0:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._has_enough.wait(), seconds)

    def let_go(self) -> None:
        """Leave what waits to whoever reads it again."""
        self._take_waiting()

    def _take_waiting(self) -> list[Any]:
        waiting, self._waiting = self._waiting, []
        self._consumer.enough.difference_update(self._waiting_bytes)
        self._waiting_bytes.clear()
        self._has_come.clear()
        self._has_enough.clear()
        return waiting

    async def _run(self, groups: Sequence[Sequence[Any]]) -> None:
        """Handle a round; of each group the last event stands for all of it."""
        for events in groups:
            events[-1].message.value = joint([event.message.value for event in events])
        try:
            handled = await self._handle([events[-1].message for events in groups])
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001  whatever it is, it must not reach Faust
            crash(self._stage.handle, error)
        if any(handled):
            self._consumer.app.reach(f"{self._stage.name}.batch-done")
        for events, is_handled in zip(groups, handled, strict=True):
            for event in events[:-1] if is_handled else events:
                self._consumer.put_back(event.message)
            if is_handled:
                events[-1].ack()

    async def _handle(self, messages: Sequence[Any]) -> list[bool]:
        """Handle the batches that go on from the stage's state; return which."""
        fit = [await self._fits(message) for message in messages]
        # While one was looked at, a rebalance may have come over another.
        fit = [fits and self._is_current(message) for message, fits in zip(messages, fit, strict=True)]
        if any(fit):
            began_s = time.monotonic()
            await self._stage.handle(*(message.value for message, fits in zip(messages, fit, strict=True) if fits))
            self._observe(time.monotonic() - began_s)
        return fit

    async def _fits(self, message: Any) -> bool:
        batch: Batch = message.value
        # What was fetched before a rebalance may be another worker's now: to open it would take it away from there.
        if not self._is_current(message):
            return False
        await self._stage.open(batch.partition)
        epoch = batch.epoch
        position, first = self._stage.position(batch.topic, batch.partition), batch.records[0].offset
        # Found again by a second reading, a gap is in the log itself: markers of transactions, records that compaction
        # or retention removed.
        if first > position and self._rewound.get(batch.topic) != (position, first, epoch):
            log.info("rewound topic=%s partition=%s from=%s to=%s", batch.topic, batch.partition, first, position)
            self._rewound[batch.topic] = (position, first, epoch + 1)
            await self._consumer.rewind(TP(batch.topic, batch.partition), position)
            return False
        return True

    def _is_current(self, message: Any) -> bool:
        batch: Batch = message.value
        return bool(
            batch.epoch == self._consumer.epoch(TP(batch.topic, batch.partition))
            and message.generation_id == self._consumer.app.consumer_generation_id
        )


def rounds(events: Sequence[Any]) -> list[list[list[Any]]]:
    """Group events whose batches go on from each other, and the groups into rounds of one a topic, in order."""
    found: list[list[list[Any]]] = []
    at: dict[str, int] = {}
    """By topic: the round of its last group."""
    for event in events:
        topic = event.message.value.topic
        group = next((g for g in found[at[topic]] if g[0].message.value.topic == topic), None) if topic in at else None
        if group is not None and _goes_on(group[-1].message, event.message):
            group.append(event)
            continue
        at[topic] = at.get(topic, -1) + 1
        if at[topic] == len(found):
            found.append([])
        found[at[topic]].append([event])
    return found


def _goes_on(before: Any, after: Any) -> bool:
    return bool(
        after.generation_id == before.generation_id
        and after.value.epoch == before.value.epoch
        and after.value.records[0].offset == before.value.resume_offset
    )


def joint(batches: Sequence[Batch]) -> Batch:
    """Make one batch of several that go on from each other."""
    last = batches[-1]
    if len(batches) == 1:
        return last
    # The last fetch tells of the latest end.
    return replace(last, records=[record for batch in batches for record in batch.records])


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
