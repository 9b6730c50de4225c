"""Measure a serving node over HTTP with an independent load program, and an empty handler of the same stack with it.

The node has one core of its own, everything else the others: the load program (`wrk`, and `oha` for a steady rate),
Kafka, and what publishes snapshots. Decisions are logged to that Kafka, and read from there at the end: as many as were
answered, and which was the first that used a snapshot.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import numpy as np
from aiokafka import AIOKafkaProducer

from benchmarks import deciding
from benchmarks.http_load import JSON, Load, Target, flat_out, has, small, steady
from benchmarks.process import cpu_s
from benchmarks.report import Row
from pipeline.brokers import default_cache_dir, running_broker
from pipeline.brokers.ports import free_ports
from pipeline.stream.log.topics import create_topics, topic_specs
from tests.harness.taught import logged, publish, taught

ARMS, PARTITIONS, CONNECTIONS, RATE = 20, 4, 16, 1_000
NODE_CORE = 0
PATH = "/v1/policies/bench/decide"
BODY = json.dumps({"context": deciding.context()})
EMPTY = """
import asyncio, sys
import uvicorn, uvloop
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route
answer = open(sys.argv[2], "rb").read()
async def decide(request):
    await request.body()
    return Response(answer, media_type="application/json")
app = Starlette(routes=[Route("/v1/policies/{policy}/decide", decide, methods=["POST"])])
config = uvicorn.Config(app, port=int(sys.argv[1]), lifespan="off", ws="none", log_config=None, access_log=False)
asyncio.Runner(loop_factory=uvloop.new_event_loop).run(uvicorn.Server(config).serve())
"""


class Size(NamedTuple):
    """How much is measured."""

    seconds: int = 15
    """Of each run of a load program."""
    repetitions: int = 3
    decisions: int = 5_000
    """In the process."""
    programs: bool = True
    """Whether load programs measure; else there is a small load of ours, for right answers only."""


SMOKE = Size(2, 1, 50, programs=False)
EDGE_MS = 500.0
"""A snapshot that is published so near to the start or end of a load may find nobody who uses it."""


def measure(size: Size) -> list[Row]:
    """Run the node and the empty handler in turn; then decide in this process."""
    if size.programs and not (has("wrk") and has("oha")):
        raise SystemExit("the serving bench needs wrk and oha (Debian: apt-get install wrk; cargo install oha)")
    with (
        _off_the_nodes_core(size),
        running_broker("kafka", cache_dir=default_cache_dir(), fresh=True) as broker,
        tempfile.TemporaryDirectory() as folder,
    ):
        rows = asyncio.run(_measure(broker.bootstrap_servers, Path(folder), size))
    return rows + deciding.measure(size.decisions)


class Publisher:
    """Publishes a snapshot each second, while it is on."""

    def __init__(self, producer: AIOKafkaProducer) -> None:
        self.published: dict[int, float] = {}
        """Version → when it was handed to the producer, epoch milliseconds."""
        self.is_on = asyncio.Event()
        self.loads_ms: list[tuple[float, float]] = []
        """When the node was under a load."""
        self._producer = producer
        self._definition = deciding.policy(ARMS)

    async def publish(self) -> None:
        """Publish the next version."""
        version = len(self.published) + 1
        content = taught(self._definition, version, decisions=deciding.LEARNED)
        self.published[version] = time.time() * 1e3
        await publish(self._producer, self._definition, content, PARTITIONS)

    @asynccontextmanager
    async def under_load(self) -> AsyncIterator[None]:
        """Note that there is a load inside this block, and publish."""
        began_ms = time.time() * 1e3
        self.is_on.set()
        try:
            yield
        finally:
            self.is_on.clear()
            self.loads_ms.append((began_ms, time.time() * 1e3))

    def under_loads(self) -> dict[int, float]:
        """Return the versions that were published in the midst of a load."""
        return {
            version: at_ms
            for version, at_ms in self.published.items()
            if any(began_ms + EDGE_MS < at_ms < ended_ms - EDGE_MS for began_ms, ended_ms in self.loads_ms)
        }

    async def run(self) -> None:
        """Go on until cancelled."""
        while True:
            await self.is_on.wait()
            await self.publish()
            await asyncio.sleep(1.0)


@asynccontextmanager
async def _publishing(broker: str) -> AsyncIterator[Publisher]:
    async with AIOKafkaProducer(bootstrap_servers=broker, max_request_size=8 << 20) as producer:
        publisher = Publisher(producer)
        await publisher.publish()
        running = asyncio.create_task(publisher.run())
        try:
            yield publisher
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


async def _measure(broker: str, folder: Path, size: Size) -> list[Row]:
    await create_topics(broker, topic_specs("pipeline", PARTITIONS))
    port, empty_port = free_ports(2)
    node_at, empty_at = Target(port, PATH, BODY), Target(empty_port, PATH, BODY)
    command = [*(sys.executable, "-m", "pipeline", "serve"), "--broker", broker, "--port", str(port)]
    runs: dict[str, list[Load]] = {}
    async with _publishing(broker) as publisher:
        with _pinned(command, folder / "node.log", size) as node:
            (folder / "answer.json").write_bytes(await _first_answer(port))
            empty_command = [sys.executable, "-c", EMPTY, str(empty_port), str(folder / "answer.json")]
            with _pinned(empty_command, folder / "empty.log", size) as empty:
                await _first_answer(empty_port)
                for _ in range(size.repetitions):
                    runs.setdefault("empty handler, steady", []).append(await _steady(empty_at, size))
                    runs.setdefault("node, steady, no new snapshot", []).append(await _steady(node_at, size))
                    async with publisher.under_load():
                        load = await _steady(node_at, size)
                    runs.setdefault("node, steady, a snapshot each second", []).append(load)
                    load = await _flat_out(empty_at, empty, size, folder)
                    runs.setdefault("empty handler, all it takes", []).append(load)
                    async with publisher.under_load():
                        load = await _flat_out(node_at, node, size, folder)
                    runs.setdefault("node, all it takes", []).append(load)
            decided = await _decided(port)
        used_ms = await _first_used(broker, decided, publisher)
    _check(runs)
    name = f"snapshot published to used, under load (n = {len(used_ms)})"
    delays = [
        Row(f"serving, {name}: p{at:g}", "ms", (float(np.percentile(used_ms, at)),)) for at in (50.0, 99.0) if used_ms
    ]
    return [row for what, loads in runs.items() for row in _rows(what, loads)] + _ratios(runs) + delays


def _check(runs: dict[str, list[Load]]) -> None:
    failed = {name: [load.failed for load in loads] for name, loads in runs.items()}
    if any(count for counts in failed.values() for count in counts):
        raise SystemExit(f"requests failed: {failed}")


def _rows(name: str, loads: Sequence[Load]) -> Iterator[Row]:
    name = name.replace("steady", f"{RATE:,}/s")
    kinds = ("requests/s", "p50 ms", "p99 ms", "p99.9 ms", "failed requests", "requests/CPU-s")
    for place, kind in enumerate(kinds):
        values = tuple(float(load[place]) for load in loads)
        if kind != "requests/CPU-s" or any(values):
            yield Row(f"serving, {name}: {kind}", "ms" if kind.endswith("ms") else "", values)


def _ratios(runs: dict[str, list[Load]]) -> list[Row]:
    pairs = list(zip(runs["node, all it takes"], runs["empty handler, all it takes"], strict=True))
    by_clock = tuple(node.requests_per_s / empty.requests_per_s for node, empty in pairs)
    by_cpu = tuple(node.per_cpu_s / empty.per_cpu_s for node, empty in pairs)
    reloads = zip(runs["node, steady, a snapshot each second"], runs["node, steady, no new snapshot"], strict=True)
    tail = tuple(with_them.p99_ms / without.p99_ms for with_them, without in reloads)
    return [
        Row("serving: node / empty handler", "", by_clock),
        Row("serving: the same by CPU time", "", by_cpu),
        Row(f"serving, {RATE:,}/s: p99 with a snapshot each second / without", "", tail),
    ]


async def _steady(at: Target, size: Size) -> Load:
    return await (steady(at, size.seconds, CONNECTIONS, RATE) if size.programs else small(at, size.seconds, 1))


async def _flat_out(at: Target, pid: int, size: Size, folder: Path) -> Load:
    before_s = cpu_s(pid)
    if size.programs:
        load = await flat_out(at, size.seconds, CONNECTIONS, folder)
    else:
        load = await small(at, size.seconds, CONNECTIONS)
    taken_s = max(cpu_s(pid) - before_s, 1e-9)
    return load._replace(per_cpu_s=load.requests_per_s * size.seconds / taken_s)


async def _first_answer(port: int) -> bytes:
    """Return the first answer of a model's."""
    async with asyncio.timeout(60), httpx.AsyncClient() as client:
        while True:
            try:
                answer = await client.post(
                    f"http://127.0.0.1:{port}{PATH}", content=BODY, headers={"content-type": JSON}
                )
                if answer.status_code == 200 and answer.json()["reason"] == "policy":
                    return answer.content
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.05)


async def _decided(port: int) -> int:
    """Return how many decisions a node has made, once all of them were delivered."""
    async with asyncio.timeout(120), httpx.AsyncClient() as client:
        while True:
            health: dict[str, Any] = (await client.get(f"http://127.0.0.1:{port}/healthz")).json()
            if not health["undelivered"]:
                break
            await asyncio.sleep(0.1)
    if health["dropped"] or set(health["answers"]) - {"policy"} - {"none.no-snapshot"}:
        raise SystemExit(f"not every request was decided by the policy and logged: {health}")
    return int(health["answers"]["policy"])


async def _first_used(broker: str, decided: int, publisher: Publisher) -> list[float]:
    """Hold that all decisions are in Kafka; return by how many ms each version's first one came after it was published.

    Or the first one of a later version, where the node passed a version over.
    """
    first_ms: dict[int, int] = {}
    found: set[str] = set()  # one may be there twice, when an acknowledgement came late
    async for decision in logged(broker, PARTITIONS):
        found.add(decision.action_id)
        version = decision.snapshot_version
        first_ms[version] = min(first_ms.get(version, decision.decided_at_ms), decision.decided_at_ms)
    if len(found) != decided:
        raise SystemExit(f"decisions were lost: {len(found)} are in Kafka, the node says {decided}")
    return [
        min(used_ms for other, used_ms in first_ms.items() if other >= version) - at_ms
        for version, at_ms in publisher.under_loads().items()
        if version <= max(first_ms)
    ]


@contextmanager
def _off_the_nodes_core(size: Size) -> Iterator[None]:
    """Leave the node's core to it, where times are measured."""
    before = os.sched_getaffinity(0)
    if size.programs:
        os.sched_setaffinity(0, before - {NODE_CORE} or before)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def _pinned(command: Sequence[str], log: Path, size: Size) -> Iterator[int]:
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)  # noqa: S603  our own commands
    if size.programs:
        os.sched_setaffinity(process.pid, {NODE_CORE})
    try:
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
