"""Work that goes on until somebody ends it on purpose."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from pipeline.errors import ConfigError

log = logging.getLogger(__name__)

RESTART_S = 0.1


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
