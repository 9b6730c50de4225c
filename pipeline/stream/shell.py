"""Run a stage's handler over its stream; never lose an exception, and never let partitions wait for each other.

Batches of one partition are handled one after the other, in a lane of their own; those of different partitions
overlap, so that one's round trips to the broker are another's time to compute.

Faust acknowledges an event whose agent raised, and commits on its way down. So a handler's exception ends the
process here, before anything is acknowledged: the next worker reads the same records again.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from typing import Any

from pipeline.stream.batch import Batch

log = logging.getLogger(__name__)

EXIT_CRASHED = 70
WAITING_BATCHES = 2
"""A lane takes this many batches before the stage stops reading."""

Handle = Callable[[Batch], Awaitable[None]]


async def consume(stream: Any, handle: Handle) -> None:
    """Hand each batch to the stage; acknowledge it when everything that came of it is durable."""
    lanes: dict[int, asyncio.Queue[Any]] = {}
    running: list[asyncio.Task[None]] = []
    try:
        async for event in stream.noack().events():
            partition = event.message.partition
            if partition not in lanes:
                lanes[partition] = asyncio.Queue(WAITING_BATCHES)
                running.append(asyncio.create_task(_run_lane(lanes[partition], handle)))
            await lanes[partition].put(event)
    finally:
        for lane in running:
            lane.cancel()


async def _run_lane(events: asyncio.Queue[Any], handle: Handle) -> None:
    while True:
        event = await events.get()
        try:
            await handle(event.message.value)
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001  whatever it is, it must not reach Faust
            crash(handle, error)
        event.ack()


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
