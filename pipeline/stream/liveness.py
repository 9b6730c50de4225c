"""Whether the host behind a connection lives, which a request that is not answered does not tell.

A host that is frozen or cut off closes nothing: its kernel, or nobody, takes what is sent. A broker that lives may be
long about an answer, while replicas write or members join. So of a request that is unanswered for a while its host is
asked something that every broker answers at once (ApiVersions), on another connection. Without an answer to that the
request is at an end, and the host is known as silent to all clients of this process: whoever has a request there asks
at once, and nobody connects to it. Whoever would is told so, and it is asked beside, by a task that has nothing else to
do: a client that waits for one host hears nothing from the others.

    request ──── SILENT_S ──── knock ── answered: wait on, and knock again
                                 └───── KNOCK_WITHIN_S: TimeoutError, the connection is closed, another is asked
    connect ──── silent: told so ── knock beside, once a second ── answered: the next one connects
"""

from __future__ import annotations

import asyncio
import ssl
import struct
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

from aiokafka.errors import KafkaConnectionError

from pipeline.stream.timeouts import (
    AVOIDED_S,
    CONNECT_WITHIN_S,
    KNOCK_WITHIN_S,
    KNOWN_SILENT_S,
    REFUSED_S,
    REFUSING_S,
    SILENT_S,
)

# Length, then: ApiVersions (18) in version 0, correlation id 1, no client id.
KNOCK = struct.pack(">ihhih", 10, 18, 0, 1, -1)

T = TypeVar("T")
Host = tuple[str, int]
"""Name and port."""


class Liveness:
    """What this process has found out about hosts; its event loops share it."""

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._silent: set[Host] = set()
        self._avoided_until_s: dict[Host, float] = {}
        """Of those that refuse connections: nobody connects sooner. Of those that are silent: nobody asks sooner."""
        self._asking: set[asyncio.Task[None]] = set()

    def is_silent(self, host: Host) -> bool:
        """Whether it was, when it was last asked."""
        return host in self._silent

    def note(self, host: Host, *, is_silent: bool) -> None:
        """Remember how it was."""
        if is_silent:
            self._silent.add(host)
            self._avoided_until_s[host] = self._clock_s() + AVOIDED_S
        else:
            self._silent.discard(host)
            self._avoided_until_s.pop(host, None)

    @asynccontextmanager
    async def connecting(self, host: Host, context: ssl.SSLContext | None = None) -> AsyncIterator[None]:
        """Bound the time that it takes to connect, and learn from it.

        Raises:
            KafkaConnectionError: it is silent, or refused a moment ago.
            TimeoutError: it is silent, which was not known. OSError: it refuses.
        """
        if self.is_silent(host):
            self._ask_beside(host, context)
            await asyncio.sleep(REFUSING_S)
            raise KafkaConnectionError(f"{host[0]}:{host[1]} does not answer; it is asked again within a second or so")
        if self._is_avoided(host):
            await asyncio.sleep(REFUSING_S)
            raise KafkaConnectionError(f"{host[0]}:{host[1]} takes no connection; it is tried again within a second")
        try:
            async with asyncio.timeout(CONNECT_WITHIN_S):
                yield
        except TimeoutError:
            self.note(host, is_silent=True)
            raise
        except asyncio.CancelledError:
            raise  # nothing is known that was not
        except BaseException as error:
            self.note(host, is_silent=False)
            if isinstance(error, OSError):
                self._avoided_until_s[host] = self._clock_s() + REFUSED_S
            raise
        self.note(host, is_silent=False)

    def _is_avoided(self, host: Host) -> bool:
        return self._clock_s() < self._avoided_until_s.get(host, 0.0)

    def _ask_beside(self, host: Host, context: ssl.SSLContext | None) -> None:
        """Find out whether a silent host lives by now, unless that was done a moment ago or is being done."""
        if self._is_avoided(host):
            return
        self._avoided_until_s[host] = self._clock_s() + KNOCK_WITHIN_S

        async def ask() -> None:
            self.note(host, is_silent=not await knock(host, context))

        asking = asyncio.ensure_future(ask())
        self._asking.add(asking)
        asking.add_done_callback(self._asking.discard)

    async def answered(self, asking: Coroutine[Any, Any, T], host: Host, context: ssl.SSLContext | None) -> T:
        """Wait for an answer for as long as its host lives.

        Raises:
            TimeoutError: it is silent. Exception: what came instead of an answer.
        """
        asked = asyncio.ensure_future(asking)
        try:
            while True:
                await asyncio.wait({asked}, timeout=KNOWN_SILENT_S if self.is_silent(host) else SILENT_S)
                if asked.done():
                    break
                lives = await knock(host, context)
                if asked.done():
                    break
                self.note(host, is_silent=not lives)
                if not lives:
                    raise TimeoutError
        finally:
            asked.cancel()  # which does nothing to what is done
        return await asked


async def knock(host: Host, context: ssl.SSLContext | None) -> bool:
    """Ask a host whether it lives; whatever it says, that it does not listen too, says so."""
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(KNOCK_WITHIN_S):
            reader, writer = await asyncio.open_connection(*host, ssl=context)
            writer.write(KNOCK)
            await reader.read(1)
    except TimeoutError:
        return False
    except OSError:
        pass
    finally:
        if writer is not None:
            with suppress(Exception):
                writer.close()
    return True
