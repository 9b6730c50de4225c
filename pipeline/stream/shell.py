"""Run a stage's handler over its stream of batches, and never lose an exception.

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


async def consume(stream: Any, handle: Callable[[Batch], Awaitable[None]]) -> None:
    """Hand each batch to the stage; acknowledge it when everything that came of it is durable."""
    async for event in stream.noack().events():
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
