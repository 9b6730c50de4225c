from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.client import AIOKafkaClient
from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.admin import ApiVersionRequest

from pipeline.stream.connections import mend_connections

# What uvloop says of a transport that was closed under the writer; asyncio's own loop says nothing.
WORDS = "unable to perform operation on <TCPTransport closed=True>; the handler is closed"


def refuse(_: bytes) -> None:
    raise RuntimeError(WORDS)


async def test_a_write_on_a_connection_that_was_reset_is_an_error_that_aiokafka_knows() -> None:
    mend_connections()
    connection: Any = AIOKafkaConnection("127.0.0.1", 9092)
    connection._reader = asyncio.StreamReader()
    connection._writer = SimpleNamespace(write=refuse, close=lambda: None)
    connection._read_task = asyncio.create_task(asyncio.sleep(60))
    assert connection.connected()
    with pytest.raises(KafkaConnectionError, match="broken: unable to perform operation"):
        connection.send(ApiVersionRequest())
    assert not connection.connected()


async def test_what_a_client_knows_of_its_brokers_is_renewed_after_any_failure(
    caplog: pytest.LogCaptureFixture,
) -> None:
    mend_connections()
    client: Any = AIOKafkaClient(bootstrap_servers="127.0.0.1:9092")
    asked = 0

    async def update(*_: object) -> bool:
        nonlocal asked
        asked += 1
        if asked == 1:
            raise ValueError("a failure that aiokafka does not know")
        return True

    client._metadata_update = update
    client._sync_task = asyncio.create_task(client._md_synchronizer())
    async with asyncio.timeout(10):
        assert await client.force_metadata_update()
    assert asked == 2
    assert "failed-within" in caplog.text
    async with asyncio.timeout(10):
        await client.close()
    assert client._sync_task is None
