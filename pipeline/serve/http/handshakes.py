"""A listener of TLS: a connection has a place, and its time is counted, from its first moment.

uvicorn hears of a connection when its handshake is over, for which asyncio gives a minute: whoever connected and said
nothing would hold one of the process's files for so long, uncounted, until there are none for callers with a key.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress

from pipeline.serve.http.edge import Edge
from pipeline.serve.http.limited_protocol import LimitedProtocol
from pipeline.serve.http.tls import Tls

log = logging.getLogger(__name__)

BACKLOG = 2_048
PAUSE_S = 0.1


class Handshake:
    """One connection before anything can be asked on it."""

    is_idle = True
    unread_bytes = 0

    def __init__(self, accepted: socket.socket, address: str) -> None:
        self.address = address
        self.is_over = False
        """Whether it was ended from here."""
        self._accepted = accepted

    def check(self, now_s: float) -> None:
        """Wait: whoever shakes hands has a timer of its own."""

    def make_room(self) -> None:
        """End, because somebody else needs the place."""
        self.cut_off()

    def cut_off(self) -> None:
        """End at once: whoever shakes hands finds nobody there, and closes it."""
        self.is_over = True
        with suppress(OSError):
            self._accepted.shutdown(socket.SHUT_RDWR)


async def accept(listener: socket.socket, edge: Edge, tls: Tls, protocol: Callable[[], LimitedProtocol]) -> None:
    """Let connections in until cancelled; each is the protocol's when its handshake is over."""
    loop = asyncio.get_running_loop()
    listener.settimeout(0.0)
    listener.listen(BACKLOG)
    async with asyncio.TaskGroup() as group:
        while True:
            try:
                accepted, client = await loop.sock_accept(listener)
            except OSError:  # no file is left for it: it waits in the system's queue
                edge.note("no-file", "")
                await asyncio.sleep(PAUSE_S)
                continue
            handshake = Handshake(accepted, str(client[0]))
            edge.enter(handshake)
            group.create_task(_shake(handshake, accepted, edge, tls, protocol))


async def _shake(
    handshake: Handshake, accepted: socket.socket, edge: Edge, tls: Tls, protocol: Callable[[], LimitedProtocol]
) -> None:
    def make() -> LimitedProtocol:
        made = protocol()
        made.handshake = handshake
        return made

    try:
        accepted.settimeout(0.0)
        await asyncio.get_running_loop().connect_accepted_socket(
            make, accepted, ssl=tls.listener, ssl_handshake_timeout=edge.limits.head_within_s
        )
    except OSError as error:  # of which TLS's own are some
        # Who goes away, as a balancer does that only looks whether there is somebody, is refused nothing.
        if isinstance(error, ConnectionAbortedError | ssl.SSLError) and not handshake.is_over:
            edge.note("handshake-failed", handshake.address)
        accepted.close()
    except Exception:  # whatever is wrong with one connection, others are let in
        log.exception("handshake-failed")
        accepted.close()
    finally:
        edge.leave(handshake)
