"""Ask a worker or a node over HTTP how it is, in bounded time and room; of one that does not tell, say why not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TypeVar

import aiohttp
import msgspec

from pipeline.status.facts import NodeFacts, WorkerFacts
from pipeline.status.metrics_text import worker_facts

WITHIN_S = 3.0
ANSWER_BYTES = 16 << 20
T = TypeVar("T", WorkerFacts, NodeFacts)


def session() -> aiohttp.ClientSession:
    """Return what asks; each answer has to be whole within `WITHIN_S`."""
    return aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=WITHIN_S))


async def ask_worker(http: aiohttp.ClientSession, url: str) -> WorkerFacts:
    """Ask a worker's listener what it counts."""
    return await _asked(http, url, "/metrics", {}, _read_worker, WorkerFacts)


async def ask_node(http: aiohttp.ClientSession, url: str, key: str) -> NodeFacts:
    """Ask a serving node what it decides by; with a key that may operate, it tells all."""
    headers = {"authorization": f"Bearer {key}"} if key else {}
    return await _asked(http, url, "/healthz", headers, _read_node, NodeFacts)


async def _asked(
    http: aiohttp.ClientSession,
    url: str,
    path: str,
    headers: Mapping[str, str],
    read: Callable[[str, bytes], T],
    silent: Callable[[str, str], T],
) -> T:
    try:
        async with http.get(url.rstrip("/") + path, headers=headers) as response:
            if response.status != 200:
                return silent(url, f"answers {response.status} to {path}")
            raw = await _whole(response)
        # Metrics of thousands of policies take a while to read.
        return await asyncio.to_thread(read, url, raw)
    except TimeoutError:
        return silent(url, f"does not answer within {WITHIN_S:g} s")
    except (aiohttp.ClientError, msgspec.DecodeError, ValueError) as error:
        return silent(url, f"does not answer {path}: {error or type(error).__name__}")


async def _whole(response: aiohttp.ClientResponse) -> bytes:
    """Return an answer's body: `read(n)` of a stream would return what has come so far."""
    raw = bytearray()
    async for piece in response.content.iter_any():
        raw += piece
        if len(raw) > ANSWER_BYTES:
            raise ValueError(f"more than {ANSWER_BYTES >> 20} MiB come")
    return bytes(raw)


def _read_worker(url: str, raw: bytes) -> WorkerFacts:
    return worker_facts(url, raw.decode("utf-8"))


class _Live(msgspec.Struct):
    version: int


class _Health(msgspec.Struct):
    """What is read of a node's answer; all but the status is for operators alone."""

    status: str
    snapshots: dict[str, _Live] | None = None
    undelivered: int | None = None
    dropped: int | None = None


def _read_node(url: str, raw: bytes) -> NodeFacts:
    told = msgspec.json.decode(raw, type=_Health)
    versions = None if told.snapshots is None else {policy: live.version for policy, live in told.snapshots.items()}
    return NodeFacts(url, "", told.status, versions, told.undelivered, told.dropped)
