from __future__ import annotations

import asyncio
import socket

import pytest

from pipeline.errors import ConfigError
from pipeline.serve.http import server
from pipeline.serve.http.server import listen, run_node
from pipeline.serve.settings import ServeSettings


async def test_answers_leave_at_once() -> None:
    # asyncio does so for what a listener accepts if that knows its protocol; else Nagle holds each answer for 40 ms.
    accepted: asyncio.Queue[int] = asyncio.Queue()

    async def look(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = writer.get_extra_info("socket")
        accepted.put_nowait(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()

    listener = listen("127.0.0.1", 0)
    async with await asyncio.start_server(look, sock=listener), asyncio.timeout(10):
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        assert await accepted.get() != 0
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()


def test_an_address_of_another_machine_is_refused() -> None:
    # 192.0.2.0/24 is for documentation: nobody has it (RFC 5737).
    with pytest.raises(ConfigError, match=r"192\.0\.2\.1:8080 can't be listened on"):
        listen("192.0.2.1", 8080)


async def test_a_node_listens_when_all_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the first who asks for a decision waits for seconds."""
    told: list[str] = []

    def kernel() -> None:
        told.append("compiled")

    def listening(*_: object) -> None:
        told.append("listening")
        raise ConfigError("this test", ["ends here"])

    monkeypatch.setattr(server, "kernel", kernel)
    monkeypatch.setattr(server, "listening", listening)
    with pytest.raises(ConfigError, match="ends here"):
        await run_node(ServeSettings("127.0.0.1:1", "0123456789abcdef", port=0))
    assert told == ["compiled", "listening"]
