"""A known stream, sent bit by bit while other things happen."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import NamedTuple, Protocol, Self

from tests.harness.client import Fields
from tests.harness.known import Traffic, chunks

PACE_S = 0.02
"""Between two chunks: events flow, they do not stand there all at once."""


class Raw(NamedTuple):
    """A record of any bytes."""

    topic: str
    partition: int
    value: bytes | None


class Sends(Protocol):
    """Puts records into the loop."""

    async def decide(self, decisions: Iterable[Fields]) -> None:
        """Produce decisions."""

    async def observe(self, outcomes: Iterable[Fields]) -> None:
        """Produce outcomes."""

    async def send(self, topic: str, partition: int, raw: bytes | None, /) -> object:
        """Produce any bytes."""

    async def tick(self, event_time_ms: int) -> None:
        """Let every partition's event time come to `event_time_ms`."""


class Flow:
    """All records of some streams, in order of arrival, sent by a task of its own as far as it is allowed to."""

    def __init__(
        self,
        client: Sends,
        *streams: Traffic,
        among: Mapping[int, Sequence[Raw]] | None = None,
        pace_s: float = PACE_S,
    ) -> None:
        """Take what is to be sent.

        Args:
            client: sends it.
            streams: the known ones.
            among: other records, by the chunk that they come with.
            pace_s: lies between two chunks.
        """
        self._client = client
        self._pace_s = pace_s
        self._chunks = chunks(streams)
        self._among = among or {}
        self._closed_ms = max(stream.closed_ms for stream in streams)
        self._allowed = 0
        self._sent = 0
        self._changed = asyncio.Condition()

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._send())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def __len__(self) -> int:
        """Return in how many chunks it is sent."""
        return len(self._chunks)

    @property
    def left(self) -> int:
        """How many chunks may not be sent yet."""
        return len(self) - self._allowed

    async def allow(self, chunks: int) -> None:
        """Let so many more chunks be sent; returns at once."""
        async with self._changed:
            self._allowed = min(len(self), self._allowed + chunks)
            self._changed.notify_all()

    async def send(self, chunks: int) -> None:
        """Let so many more chunks be sent, and wait until they are."""
        await self.allow(chunks)
        await self._until_sent()

    async def send_rest(self) -> None:
        """Send all that is left, and a tick at which every window is closed."""
        await self.send(len(self))
        await self._client.tick(self._closed_ms)

    async def _until_sent(self) -> None:
        async def is_sent() -> bool:
            async with self._changed:
                await self._changed.wait_for(lambda: self._sent >= self._allowed)
            return True

        waiting = asyncio.create_task(is_sent())
        await asyncio.wait({waiting, self._task}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if self._task.done():
            self._task.result()

    async def _send(self) -> None:
        for number, (decisions, outcomes) in enumerate(self._chunks):
            async with self._changed:
                await self._changed.wait_for(lambda sent=number: self._allowed > sent)
            await asyncio.gather(
                self._client.decide(decisions),
                self._client.observe(outcomes),
                *(self._client.send(*raw) for raw in self._among.get(number, ())),
            )
            async with self._changed:
                self._sent = number + 1
                self._changed.notify_all()
            await asyncio.sleep(self._pace_s)
