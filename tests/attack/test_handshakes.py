"""Strangers at a listener of TLS who never finish a handshake: they have places like all others, and lose them."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from pipeline.serve.http.server import listening, loop_factory
from pipeline.serve.keys import ApiKey, hash_key
from pipeline.serve.limits import Limits
from pipeline.serve.node import ServingNode
from pipeline.serve.settings import ServeSettings
from tests.harness.certificates import issue

pytestmark = pytest.mark.attack

WITHIN_S = 60.0
PLACES = 10
HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
KEY = ApiKey("ops", hash_key("pk_ops"), frozenset({"operate"}))


@pytest.fixture(params=[None, loop_factory()], ids=["asyncio", "as shipped"])
def runner(request: pytest.FixtureRequest) -> Iterator[asyncio.Runner]:
    with asyncio.Runner(loop_factory=request.param) as made:
        yield made


async def ended(reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(ConnectionError):
        await reader.read()


@pytest.mark.parametrize("sent", [b"", HELLO[:1], HELLO, b"GET / HTTP/1.1\r\n\r\n"])
def test_half_a_handshake_is_closed_in_time_and_counted(sent: bytes, runner: asyncio.Runner, tmp_path: Path) -> None:
    runner.run(send_half(sent, tmp_path))


async def send_half(sent: bytes, tmp_path: Path) -> None:
    authority, certificate, key = issue(tmp_path, "127.0.0.1")
    limits = Limits(head_within_s=0.5)
    settings = ServeSettings("127.0.0.1:1", tls_certificate=certificate, tls_key=key, keys=(KEY,), limits=limits)
    context = ssl.create_default_context(cafile=authority)
    async with asyncio.timeout(WITHIN_S), listening(ServingNode(settings), "127.0.0.1", 0) as url:
        port = httpx.URL(url).port
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        await ended(reader)  # asyncio's own patience would be longer than the test's
        writer.close()
        async with httpx.AsyncClient(verify=context, base_url=url, timeout=WITHIN_S) as client:
            told = await client.get("/metrics", headers={"authorization": "Bearer pk_ops"})
        assert 'refused_total{reason="handshake-failed"} 1.0' in told.text


def test_whoever_has_a_key_is_answered_while_half_handshakes_hold_every_place(
    runner: asyncio.Runner, tmp_path: Path
) -> None:
    runner.run(hold_every_place(tmp_path))


async def hold_every_place(tmp_path: Path) -> None:
    authority, certificate, key = issue(tmp_path, "127.0.0.1")
    limits = Limits(connections=PLACES, connections_per_address=PLACES, head_within_s=WITHIN_S)
    settings = ServeSettings("127.0.0.1:1", tls_certificate=certificate, tls_key=key, keys=(KEY,), limits=limits)
    context = ssl.create_default_context(cafile=authority)
    async with asyncio.timeout(WITHIN_S), listening(ServingNode(settings), "127.0.0.1", 0) as url:
        port = httpx.URL(url).port
        strangers = [await asyncio.open_connection("127.0.0.1", port) for _ in range(5 * PLACES)]
        for _, writer in strangers:
            writer.write(HELLO)
        async with httpx.AsyncClient(verify=context, base_url=url, timeout=WITHIN_S) as client:
            told = await client.get("/metrics", headers={"authorization": "Bearer pk_ops"})
        assert f'refused_total{{reason="no-place"}} {4 * PLACES + 1}.0' in told.text
        # The oldest went, and nobody waits for the end of the others' patience to be rid of them.
        await asyncio.gather(*(ended(reader) for reader, _ in strangers[: 4 * PLACES]))
        for _, writer in strangers:
            writer.close()
