"""Work that goes on until somebody ends it on purpose."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from typing import Any

from pipeline.errors import ConfigError

log = logging.getLogger(__name__)

RESTART_S = 0.1
CANCEL_AGAIN_S = 5.0
"""Longer than a client takes to close its connections."""


async def supervise(work: Callable[[], Awaitable[None]]) -> None:
    """Do `work` until somebody cancels this task, or it says that it can't be done (ConfigError).

    A cancellation from within, as aiokafka's when a broker freezes, would end it without an exception to be seen; and
    an exception that nobody has thought of would end what others count on.
    """
    while True:
        try:
            await work()
        except ConfigError:
            raise
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            log.warning("cancelled-from-within task=%s", task.get_name())
        except Exception:  # whatever it is, it is seen, and begun anew
            log.exception("failed-within work=%s", work)
        await asyncio.sleep(RESTART_S)


async def end(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancel tasks until all are over.

    Once is not enough: a client's own clean-up, or a wait whose time is over at that moment, takes a cancellation for
    its own, and whoever waited for the task then would wait for ever.
    """
    left = {task for task in tasks if not task.done()}
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=CANCEL_AGAIN_S)
    await asyncio.gather(*tasks, return_exceptions=True)  # what they failed by is asked for by who wants to know
