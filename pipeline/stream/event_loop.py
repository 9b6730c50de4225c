"""What holds the event loop, and for how long: all stages of a worker, and its word to the broker, wait for it.

Long work goes to a thread, or is done in steps between which others have their turn; a watch says whether it is so.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

STEP_S = 0.004
"""Of work, after which others have their turn."""
LOOK_AGAIN_S = 0.005


class Steps:
    """Work in steps: `rest` between any two pieces of it."""

    def __init__(self) -> None:
        self._since_s = time.perf_counter()

    async def rest(self) -> None:
        """Let others have their turn, if that is due."""
        if time.perf_counter() - self._since_s > STEP_S:
            await asyncio.sleep(0)
            self._since_s = time.perf_counter()


class StallWatch:
    """Tells how much later than asked for the loop comes back: what ran in between has held it for about so long."""

    def __init__(self, observe: Callable[[float], None]) -> None:
        self._observe = observe

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            due_s = time.perf_counter() + LOOK_AGAIN_S
            await asyncio.sleep(LOOK_AGAIN_S)
            self._observe(max(0.0, time.perf_counter() - due_s))
