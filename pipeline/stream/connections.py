"""aiokafka's connections, on uvloop.

A connection that the broker has reset is closed before anybody is told. What is written then asyncio's own loop drops;
uvloop raises a RuntimeError. aiokafka takes only an OSError for a broken connection, so the other one ends whoever
writes. Among them is the task that renews what a client knows of its brokers, of whose end nobody hears: a consumer
goes on reading then, finds its group's coordinator no more, and commits nothing for as long as it lives.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.errors import KafkaConnectionError


@cache
def mend_connections() -> None:
    """Let a write on a closed connection be what it is, for every client of this process; once is enough."""
    send = AIOKafkaConnection.send

    def mended(self: Any, request: Any, expect_response: bool = True) -> Any:
        try:
            return send(self, request, expect_response)
        except RuntimeError as error:
            self.close(reason=CloseReason.CONNECTION_BROKEN)
            raise KafkaConnectionError(f"Connection at {self.host}:{self.port} broken: {error}") from error

    AIOKafkaConnection.send = mended
