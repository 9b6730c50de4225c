"""Decisions over real connections: most of them take a way of their own around ASGI (`serve/http/protocol.py`)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest

from pipeline.policy.definition import PolicyDefinition
from pipeline.serve import load_snapshot
from pipeline.serve.http.protocol import LONGEST_BYTES
from pipeline.serve.http.server import listening
from pipeline.serve.keys import ApiKey, hash_key
from pipeline.serve.node import ServingNode
from pipeline.serve.settings import ServeSettings

Content = Callable[..., bytes]
Answers = Callable[[bytes, int], Any]
SOUND = {"age": 40, "device": "mobile"}
WITHIN_S = 10.0
TYPE = "content-type: application/json\r\n"


def request(body: object, *, headers: str = "", version: str = "1.1", path: str = "homepage/decide") -> bytes:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    line = f"POST /v1/policies/{path} HTTP/{version}\r\nhost: localhost\r\n"
    return f"{line}{TYPE}{headers}content-length: {len(raw)}\r\n\r\n".encode() + raw


class Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def answer(self) -> tuple[int, dict[str, str], Any]:
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
        content = await self.reader.readexactly(int(headers["content-length"]))
        return int(head[0].split()[1]), headers, json.loads(content)

    async def ask(self, *parts: bytes) -> tuple[int, dict[str, str], Any]:
        for part in parts:
            self.writer.write(part)
            await self.writer.drain()
        return await self.answer()


@pytest.fixture
def started(linear: PolicyDefinition, content_of: Content) -> Callable[..., ServingNode]:
    def start(**settings: Any) -> ServingNode:
        node = ServingNode(ServeSettings("127.0.0.1:1", "0123456789abcdef", **settings), rng=np.random.default_rng(1))
        node.follower.snapshots["homepage"] = load_snapshot(content_of(linear, {}))
        node.follower._published_at_ms["homepage"] = 0
        return node

    return start


@asynccontextmanager
async def connected(node: ServingNode) -> AsyncIterator[Connection]:
    async with asyncio.timeout(WITHIN_S), listening(node, "127.0.0.1", 0) as url:
        host, port = url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            yield Connection(reader, writer)
        finally:
            writer.close()


async def test_a_decision_is_answered_logged_and_counted(started: Callable[..., ServingNode]) -> None:
    node = started()
    async with connected(node) as connection:
        for number in range(3):
            body = {"context": SOUND, "action_id": f"a{number}"}
            status, headers, told = await connection.ask(request(body))
            assert (status, headers["content-type"], told["action_id"]) == (200, "application/json", f"a{number}")
            assert "date" in headers
            assert sum(told["probabilities"].values()) == pytest.approx(1.0)
        assert node.delivery.undelivered == node.journal.answers["policy"] == 3


async def test_an_answer_is_the_same_by_either_way(started: Callable[..., ServingNode]) -> None:
    cases: list[tuple[object, str]] = [
        ({"context": SOUND, "action_id": "a", "eligible": ["best"]}, ""),
        ({"context": {}, "action_id": "a", "eligible": ["best"]}, ""),
        ({"context": SOUND, "eligible": []}, ""),
        ({"context": SOUND, "eligable": []}, ""),
        (b"{", ""),
    ]
    found = []
    # A node that may be slow waits for room, which needs a task.
    for when_full in ("shed", "slow"):
        node = started(when_full=when_full)
        async with connected(node) as connection:
            told = [await connection.ask(request(body, headers=headers)) for body, headers in cases]
        for _, headers_told, answer in told:
            headers_told.pop("date")
            headers_told.pop("content-length")
            answer.pop("expires_at_ms", None)
        found.append(told)
    assert found[0] == found[1]
    assert [status for status, _, _ in found[0]] == [200, 200, 409, 400, 400]


async def test_who_may_not_decide_is_refused(started: Callable[..., ServingNode]) -> None:
    keys = (ApiKey("shop", hash_key("secret"), frozenset({"decide"})),)
    async with connected(started(keys=keys, rate_per_s=0.001, burst=1)) as connection:
        status, headers, told = await connection.ask(request({"context": SOUND}))
        assert (status, headers["www-authenticate"], told["error"]) == (401, "bearer", "unauthorized")
        mine = request({"context": SOUND}, headers="Authorization: Bearer secret\r\n")
        assert (await connection.ask(mine))[0] == 200
        status, headers, told = await connection.ask(mine)
        assert (status, told["error"], "retry-after" in headers) == (429, "too-many-requests", True)


async def test_a_body_may_come_in_pieces_and_be_long(started: Callable[..., ServingNode]) -> None:
    async with connected(started()) as connection:
        raw = request({"context": SOUND})
        assert (await connection.ask(raw[:20], raw[20:-5], raw[-5:]))[0] == 200
        long = request({"context": SOUND | {"note": "x" * 4 * LONGEST_BYTES}})
        assert (await connection.ask(long))[0] == 200
        too_long = request({"context": {"note": "x" * (1 << 20)}})
        assert (await connection.ask(too_long))[0] == 413


async def test_pipelined_requests_are_answered_in_their_order(started: Callable[..., ServingNode]) -> None:
    async with connected(started()) as connection:
        decide = [request({"context": SOUND, "action_id": f"a{number}"}) for number in range(3)]
        health = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n"
        connection.writer.write(decide[0] + decide[1] + health + decide[2])
        told = [(await connection.answer())[2] for _ in range(4)]
        assert [answer.get("action_id") for answer in told] == ["a0", "a1", None, "a2"]


async def test_a_client_that_asks_whether_to_send_its_body_is_told(started: Callable[..., ServingNode]) -> None:
    async with connected(started()) as connection:
        head, _, body = request({"context": SOUND}, headers="expect: 100-continue\r\n").partition(b"\r\n\r\n")
        connection.writer.write(head + b"\r\n\r\n")
        assert (await connection.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
        assert (await connection.ask(body))[0] == 200


@pytest.mark.parametrize(("version", "headers"), [("1.0", ""), ("1.1", "connection: close\r\n")])
async def test_a_connection_ends_where_the_client_wants_it_to(
    started: Callable[..., ServingNode], version: str, headers: str
) -> None:
    async with connected(started()) as connection:
        status, told, _ = await connection.ask(request({"context": SOUND}, version=version, headers=headers))
        assert (status, told["connection"]) == (200, "close")
        assert await connection.reader.read() == b""


async def test_whoever_has_gone_away_is_decided_nothing_and_disturbs_nobody(
    started: Callable[..., ServingNode], monkeypatch: pytest.MonkeyPatch
) -> None:
    node = started()
    async with connected(node) as other:
        monkeypatch.setattr("pipeline.serve.http.protocol._Reply.done", lambda _: True)
        other.writer.write(request({"context": SOUND}))
        await other.writer.drain()
        for _ in range(20):
            await asyncio.sleep(0)
        monkeypatch.undo()
        other.writer.close()
    assert node.delivery.undelivered == 0


async def test_what_goes_wrong_within_is_an_error_that_says_no_more_than_its_name(
    started: Callable[..., ServingNode], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with connected(started()) as connection:
        for place in ("pipeline.serve.http.fast_path.decided_answer", "pipeline.serve.deciding.answer_many"):
            with monkeypatch.context() as broken:
                broken.setattr(place, lambda *_: 1 / 0)
                status, _, told = await connection.ask(request({"context": SOUND}))
            assert (status, told["error"]) == (500, "internal-error")
            assert told["detail"] == "ZeroDivisionError; see the node's log"
        assert (await connection.ask(request({"context": SOUND})))[0] == 200
    assert caplog.text.count("decide-failed") == 2


async def test_a_stopping_node_finishes_what_it_was_asked(started: Callable[..., ServingNode]) -> None:
    async with asyncio.timeout(WITHIN_S):
        async with listening(started(), "127.0.0.1", 0) as url:
            host, port = url.removeprefix("http://").split(":")
            connection = Connection(*await asyncio.open_connection(host, int(port)))
            raw = request({"context": SOUND})
            connection.writer.write(raw[:-5])
            await connection.writer.drain()
            finishing = asyncio.create_task(finish(connection, raw[-5:], host, int(port)))
        status, headers, _ = await finishing
        assert (status, headers["connection"]) == (200, "close")
        connection.writer.close()


async def finish(connection: Connection, rest: bytes, host: str, port: int) -> tuple[int, dict[str, str], Any]:
    """Send the rest of a request once the node takes no new connection."""
    while True:
        try:
            _, writer = await asyncio.open_connection(host, port)
        except OSError:
            return await connection.ask(rest)
        writer.close()
        await asyncio.sleep(0)
