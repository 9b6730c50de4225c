"""What a worker or a node answers is read whole, and of one that answers anything else it is said why not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from pipeline.console.nodes import Nodes
from pipeline.status import asking
from pipeline.status.asking import ask_node, ask_worker, session
from pipeline.status.facts import NodeFacts, WorkerFacts
from pipeline.status.metrics_text import worker_facts

POLICIES = 30_000
"""Their metrics are longer than what a stream holds at a time."""


@asynccontextmanager
async def answering(body: bytes, status: int = 200) -> AsyncIterator[str]:
    """Answer every request so."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 {status} -\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n".encode() + body)
        with suppress(ConnectionError):  # whoever asked has heard enough
            await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def worker(body: bytes) -> WorkerFacts:
    async with answering(body) as url, session() as http:
        return await ask_worker(http, url)


async def node(body: bytes, status: int = 200) -> NodeFacts:
    async with answering(body, status) as url, session() as http:
        return await ask_node(http, url, "")


async def test_a_long_answer_is_read_to_its_end():
    lines = (f'pipeline_published_version{{policy="policy-{n}"}} {n}\n' for n in range(POLICIES))
    facts = await worker("".join(lines).encode())
    assert facts.fault == ""
    assert len(facts.published) == POLICIES


async def test_an_answer_without_end_is_not_held(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(asking, "ANSWER_BYTES", 1 << 20)
    assert "more than 1 MiB come" in (await worker(b"#" * (2 << 20))).fault


@pytest.mark.parametrize(
    "body",
    [
        b"up 1\n",
        b"\xff",
        b"{",
        b"pipeline_records 3\n",  # without labels
        b'pipeline_open_actions{partition="0"} +Inf\n',
        b'pipeline_open_actions{partition="0"} NaN\n',
    ],
)
async def test_metrics_that_are_none_of_a_worker_are_a_fault_of_it(body: bytes):
    assert "does not answer /metrics" in (await worker(body)).fault


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"ok", b'{"status": 1}', b'{"status": "ok", "snapshots": {"homepage": 7}}']
)
async def test_health_that_is_none_of_a_node_is_a_fault_of_it(body: bytes):
    assert "does not answer /healthz" in (await node(body)).fault


async def test_a_node_tells_strangers_its_status_and_operators_all():
    stranger = await node(b'{"status": "ok"}')
    assert (stranger.fault, stranger.status) == ("", "ok")
    assert (stranger.versions, stranger.undelivered, stranger.dropped) == (None, None, None)
    told = await node(
        b'{"status": "degraded", "snapshots": {"homepage": {"version": 7}}, "undelivered": 3, "dropped": 0}'
    )
    assert (told.status, told.versions, told.undelivered, told.dropped) == ("degraded", {"homepage": 7}, 3, 0)
    assert (await node(b"{}", 503)).fault == "answers 503 to /healthz"


def test_faults_of_two_partitions_or_workers_do_not_make_up_for_one_another():
    seen = Nodes((), "", ("one", "two"))
    text = """
pipeline_records{stream="outcomes",fate="read",partition="0"} 5
pipeline_records_unaccounted{stream="outcomes",partition="0"} 1
pipeline_records_unaccounted{stream="outcomes",partition="1"} -1
"""
    seen.workers = {name: worker_facts(name, text) for name in ("one", "two")}
    (told,) = seen.conservation()
    assert (told.stream, dict(told.fates), told.unaccounted) == ("outcomes", {"read": 10}, 4)
