"""aiokafka's connections, on uvloop, and the task that renews what a client knows of its brokers.

A connection that the broker has reset is closed before anybody is told. What is written then asyncio's own loop drops;
uvloop raises a RuntimeError. aiokafka takes only an OSError for a broken connection, so the other one ends whoever
writes. Among them is the task that renews what a client knows of its brokers, of whose end nobody hears: a consumer
goes on reading then, finds its group's coordinator no more, and commits nothing for as long as it lives. So the error
becomes one that aiokafka knows, and that task, whatever else may end it, is begun anew.
"""

from __future__ import annotations

from functools import cache, partial
from typing import Any

from aiokafka.client import AIOKafkaClient
from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.errors import KafkaConnectionError

from pipeline.stream.supervise import supervise


@cache
def mend_connections() -> None:
    """Mend every client of this process; once is enough."""
    AIOKafkaConnection.send = _told(AIOKafkaConnection.send)
    AIOKafkaClient._md_synchronizer = _begun_anew(AIOKafkaClient._md_synchronizer)  # noqa: SLF001  no public way in 0.14


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
