"""aiokafka's connections, mended once for all clients of a process.

Of a host that is gone they hear no sooner than a request's time is over, one client behind the other: now a connection
waits for as long as its host lives (`liveness.py`).

A connection that the broker has reset is closed before anybody is told. What is written then asyncio's own loop drops;
uvloop raises a RuntimeError. aiokafka takes only an OSError for a broken connection, so the other one ends whoever
writes. Among them is the task that renews what a client knows of its brokers, of whose end nobody hears: a consumer
goes on reading then, finds its group's coordinator no more, and commits nothing for as long as it lives. So the error
becomes one that aiokafka knows, and that task, whatever else may end it, is begun anew.
"""

from __future__ import annotations

from functools import cache, partial, wraps
from typing import Any

from aiokafka.client import AIOKafkaClient
from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.errors import KafkaConnectionError

from pipeline.stream.liveness import Liveness
from pipeline.stream.supervise import supervise


@cache
def mend_connections() -> None:
    """Mend every client of this process; once is enough."""
    liveness = Liveness()
    AIOKafkaConnection.tls_context = None  # of those that are open already
    AIOKafkaConnection.__init__ = _keeping_its_context(AIOKafkaConnection.__init__)
    AIOKafkaConnection.connect = _bounded(AIOKafkaConnection.connect, liveness)
    AIOKafkaConnection.send = _awaited(_told(AIOKafkaConnection.send), liveness)
    AIOKafkaClient._md_synchronizer = _begun_anew(AIOKafkaClient._md_synchronizer)  # noqa: SLF001  no public way in 0.14


def _keeping_its_context(init: Any) -> Any:
    """Let a connection show how it speaks TLS."""

    @wraps(init)
    def mended(self: Any, *arguments: Any, **options: Any) -> None:
        speaks_tls = options.get("security_protocol", "PLAINTEXT").endswith("SSL")
        self.tls_context = options.get("ssl_context") if speaks_tls else None
        init(self, *arguments, **options)

    return mended


def _bounded(connect: Any, liveness: Liveness) -> Any:
    """Let connecting take no longer than it can, whatever a request may take."""

    async def mended(self: Any) -> Any:
        async with liveness.connecting((self.host, self.port), self.tls_context):
            return await connect(self)

    return mended


def _awaited(send: Any, liveness: Liveness) -> Any:
    """Let an answer be waited for as long as its host lives."""

    def mended(self: Any, request: Any, expect_response: bool = True) -> Any:
        asking = send(self, request, expect_response)
        if not expect_response:
            return asking
        return liveness.answered(asking, (self.host, self.port), self.tls_context)

    return mended


def _told(send: Any) -> Any:
    """Let a write on a closed connection be what it is."""

    def mended(self: Any, request: Any, expect_response: bool = True) -> Any:
        try:
            return send(self, request, expect_response)
        except RuntimeError as error:
            self.close(reason=CloseReason.CONNECTION_BROKEN)
            raise KafkaConnectionError(f"Connection at {self.host}:{self.port} broken: {error}") from error

    return mended


def _begun_anew(synchronize: Any) -> Any:
    """Let the task go on, whatever ends it within."""

    async def mended(self: Any) -> None:
        await supervise(partial(synchronize, self))

    return mended
