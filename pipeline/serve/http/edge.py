"""What the connections of one listener share: bounds, places, a clock that closes what takes too long, and counts.

Nothing that a stranger does is logged as it comes: it is counted by its word, and told in one line every ten seconds.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable
from typing import Protocol

from pipeline.serve.http.connections import Connection, Connections
from pipeline.serve.limits import Limits

log = logging.getLogger(__name__)

LONGEST_TICK_S = 0.5
"""A limit of time is held to within so much."""
TELL_EVERY_S = 10.0
STARTS = 2
"""Requests of strangers that are begun in one turn of the loop, of those that are no short decisions: a fraction of a
millisecond, however many of them wait. Whoever has shown a key waits behind no more than these."""


class Watched(Connection, Protocol):
    """A connection as the edge sees it."""

    address: str

    def check(self, now_s: float) -> None:
        """End what takes too long."""

    def make_room(self) -> None:
        """End, because somebody else needs the place."""

    def cut_off(self) -> None:
        """End at once, whatever is on its way."""

    @property
    def unread_bytes(self) -> int:
        """What waits for its reader."""


class Edge:
    """Of one listener."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.places: Connections[Watched] = Connections(limits.connections, limits.connections_per_address)
        self.now_s = asyncio.get_running_loop().time()
        """The time of the last tick: reading a clock for every request would cost more than it tells."""
        self.refused: Counter[str] = Counter()
        """What was refused or cut off, by its word."""
        self.slow: dict[Watched, None] = {}
        """Connections whose answers wait for their reader, the slowest first."""
        self._open: dict[Watched, None] = {}
        self._told: Counter[str] = Counter()
        self._told_s = -TELL_EVERY_S
        self._last_address = ""
        self._headers: list[tuple[bytes, bytes]] = []
        self._head = b""
        self._starts: deque[Callable[[], None]] = deque()

    def enter(self, connection: Watched) -> None:
        """Let a connection in, and whoever has to go for it out."""
        self._open[connection] = None
        for leaving in self.places.enter(connection, connection.address):
            self.note("no-place", leaving.address)
            leaving.make_room()

    def leave(self, connection: Watched) -> None:
        """Forget a connection that has ended."""
        self._open.pop(connection, None)
        self.slow.pop(connection, None)
        self.places.leave(connection)

    def falls_behind(self, connection: Watched) -> None:
        """Note a connection whose answers wait, and cut off those that have waited longest where it is too much."""
        self.slow[connection] = None
        unread_bytes = sum(each.unread_bytes for each in self.slow)
        while unread_bytes > self.limits.unread_bytes and self.slow:
            slowest = next(iter(self.slow))
            unread_bytes -= slowest.unread_bytes
            self.note("reader-too-slow", slowest.address)
            del self.slow[slowest]
            slowest.cut_off()

    def catches_up(self, connection: Watched) -> None:
        """Note that nothing waits for a connection's reader any more."""
        self.slow.pop(connection, None)

    def head(self, headers: list[tuple[bytes, bytes]]) -> bytes:
        """Return headers of every answer as they are written; uvicorn makes others each second."""
        if headers is not self._headers:
            self._headers = headers
            self._head = b"".join(b"%b: %b\r\n" % each for each in headers)
        return self._head

    def soon(self, start: Callable[[], None]) -> None:
        """Begin what a stranger asks, after what others of them have asked."""
        if not self._starts:
            asyncio.get_running_loop().call_soon(self._start_some)
        self._starts.append(start)

    def _start_some(self) -> None:
        for _ in range(min(STARTS, len(self._starts))):
            self._starts.popleft()()
        if self._starts:
            asyncio.get_running_loop().call_soon(self._start_some)

    def note(self, word: str, address: str) -> None:
        """Count what was refused."""
        self.refused[word] += 1
        self._last_address = address

    async def watch(self) -> None:
        """Look after the connections for ever."""
        limits = self.limits
        times_s = (limits.head_within_s, limits.body_within_s, limits.idle_within_s, limits.write_within_s)
        tick_s = min(LONGEST_TICK_S, min(times_s) / 4)
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(tick_s)
            self.tick(loop.time())

    def tick(self, now_s: float) -> None:
        """End what takes too long, and tell what was refused."""
        self.now_s = now_s
        for connection in list(self._open):
            connection.check(now_s)
        if self.refused != self._told and now_s - self._told_s >= TELL_EVERY_S:
            new = self.refused - self._told
            log.warning(
                "refused %s connections=%s strangers=%s last_address=%s",
                " ".join(f"{word}={count}" for word, count in sorted(new.items())),
                len(self.places),
                self.places.strangers,
                self._last_address,
            )
            self._told, self._told_s = Counter(self.refused), now_s
