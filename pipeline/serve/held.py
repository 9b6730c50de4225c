"""A bound on what is held at once by work that takes several goes; who comes when it is full waits in line."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Held:
    """So many entries at once, and no more."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._left = most
        self._line: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def hold(self, entries: int) -> AsyncIterator[None]:
        """Wait until there is room for `entries`, first come, first served; what is larger than all has it alone."""
        wanted = min(entries, self._most)
        if self._line or wanted > self._left:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._line.append((wanted, turn))
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():  # it had come already
                    self._let_go(wanted)
                raise
        else:
            self._left -= wanted
        try:
            yield
        finally:
            self._let_go(wanted)

    def _let_go(self, wanted: int) -> None:
        self._left += wanted
        while self._line and (self._line[0][1].cancelled() or self._line[0][0] <= self._left):
            asked, turn = self._line.popleft()
            if not turn.cancelled():
                self._left -= asked
                turn.set_result(None)
