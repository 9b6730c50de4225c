"""Measure a serving node over HTTP with an independent load program, and an empty handler of the same stack with it.

The node has one core of its own, everything else the others: the load program (`wrk`, and `oha` for a steady rate,
where it is on the path), Kafka, and what publishes a snapshot every second. Decisions are logged to that Kafka, and
counted there at the end: as many as were answered.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import numpy as np
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from benchmarks.report import Row
from pipeline.brokers import default_cache_dir, running_broker
from pipeline.learn.memory import RowKey
from pipeline.models.statistics import Statistics, contributions
from pipeline.policy.definition import PolicyDefinition
from pipeline.policy.parse import load_policy
from pipeline.publish.snapshot import build_snapshot
from pipeline.stream.topics import DECISIONS, SNAPSHOTS, create_topics, partition_for, topic_specs

ARMS, DIMENSION, PARTITIONS, CONNECTIONS, RATE = 20, 16, 4, 16, 1_000
NODE_CORE = 0
PATH = "/v1/policies/bench/decide"
BODY = json.dumps({"context": {f"f{i}": round(0.9 - i / 20, 3) for i in range(DIMENSION - 1)}})
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


class Load(NamedTuple):
    """What a load program saw."""

    requests_per_s: float
    p50_ms: float
    p99_ms: float
    p999_ms: float
    failed: int
    per_cpu_s: float = 0.0
    """Requests per second of the server's own CPU time: what a busy machine does not change much."""


def measure(seconds: int, repetitions: int) -> list[Row]:
    """Run the node and the empty handler in turn, `repetitions` times."""
    if shutil.which("wrk") is None:
        raise SystemExit("the serving bench needs wrk on the path (Debian: apt-get install wrk)")
    os.sched_setaffinity(0, _others())
    with (
        running_broker("kafka", cache_dir=default_cache_dir(), fresh=True) as broker,
        tempfile.TemporaryDirectory() as folder,
    ):
        return asyncio.run(_measure(broker.bootstrap_servers, Path(folder), seconds, repetitions))


async def _measure(broker: str, folder: Path, seconds: int, repetitions: int) -> list[Row]:
    await create_topics(broker, topic_specs("pipeline", PARTITIONS))
    definition = _policy()
    publishing = asyncio.create_task(_publish_each_second(broker, definition))
    port, empty_port = 18_080, 18_081
    node_command = [*(sys.executable, "-m", "pipeline", "serve"), "--broker", broker, "--port", str(port)]
    answer = folder / "answer.json"
    runs: dict[str, list[Load]] = {}
    try:
        with _pinned(node_command, folder / "node.log") as node:
            answer.write_bytes(await _first_answer(port))
            with _pinned([sys.executable, "-c", EMPTY, str(empty_port), str(answer)], folder / "empty.log") as empty:
                await _first_answer(empty_port)
                for _ in range(repetitions):
                    for name, at, pid in (("empty handler", empty_port, empty), ("node", port, node)):
                        before_s = _cpu_s(pid)
                        load = await _wrk(at, seconds, folder)
                        load = load._replace(per_cpu_s=load.requests_per_s * seconds / (_cpu_s(pid) - before_s))
                        runs.setdefault(f"{name}, all it takes", []).append(load)
                        if shutil.which("oha"):
                            runs.setdefault(f"{name}, {RATE}/s", []).append(await _oha(at, seconds))
            await _all_logged(broker, port)
    finally:
        publishing.cancel()
        await asyncio.gather(publishing, return_exceptions=True)
    return [row for name, loads in runs.items() for row in _rows(name, loads)] + _ratios(runs)


def _rows(name: str, loads: Sequence[Load]) -> Iterator[Row]:
    kinds = ("requests/s", "p50 ms", "p99 ms", "p99.9 ms", "failed requests", "requests/CPU-s")
    for place, kind in enumerate(kinds):
        unit = "ms" if kind.endswith("ms") else ""
        yield Row(f"serving, {name}: {kind}", unit, tuple(float(load[place]) for load in loads))


def _ratios(runs: dict[str, list[Load]]) -> list[Row]:
    pairs = list(zip(runs["node, all it takes"], runs["empty handler, all it takes"], strict=True))
    by_clock = tuple(node.requests_per_s / empty.requests_per_s for node, empty in pairs)
    by_cpu = tuple(node.per_cpu_s / empty.per_cpu_s for node, empty in pairs)
    return [Row("serving: node / empty handler", "", by_clock), Row("serving: the same by CPU time", "", by_cpu)]


async def _wrk(port: int, seconds: int, folder: Path) -> Load:
    script = folder / "post.lua"
    script.write_text(
        f'wrk.method = "POST"\nwrk.body = [[{BODY}]]\n'
        "done = function(summary, latency)\n"
        '  io.write(string.format("RESULT %d %d %d %d %d %d\\n", summary.requests, summary.duration,'
        " latency:percentile(50), latency:percentile(99), latency:percentile(99.9),"
        " summary.errors.status + summary.errors.read + summary.errors.timeout + summary.errors.connect))\nend\n"
    )
    url = f"http://127.0.0.1:{port}{PATH}"
    text = await _run("wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-s", str(script), url)
    found = re.search(r"RESULT (\d+) (\d+) (\d+) (\d+) (\d+) (\d+)", text)
    if found is None:
        raise SystemExit(f"wrk said nothing of its result: {text}")
    requests, took_us, *latencies_us, failed = map(int, found.groups())
    return Load(requests / took_us * 1e6, *(us / 1_000 for us in latencies_us), failed)


async def _oha(port: int, seconds: int) -> Load:
    url = f"http://127.0.0.1:{port}{PATH}"
    rate = ("-q", str(RATE), "--latency-correction")
    text = await _run(
        *("oha", "-z", f"{seconds}s", "-c", str(CONNECTIONS), *rate, "--no-tui", "-m", "POST", "-d", BODY),
        *("--output-format", "json", url),
    )
    told = json.loads(text)
    latencies = told["latencyPercentiles"]
    served = told["statusCodeDistribution"].get("200", 0)
    failed = sum(told["statusCodeDistribution"].values()) - served
    return Load(
        told["summary"]["requestsPerSec"], *(latencies[name] * 1_000 for name in ("p50", "p99", "p99.9")), failed
    )


async def _run(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    return out.decode()


@contextmanager
def _pinned(command: Sequence[str], log: Path) -> Iterator[int]:
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)  # noqa: S603  our own commands
    os.sched_setaffinity(process.pid, {NODE_CORE})
    try:
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def _cpu_s(pid: int) -> float:
    """Return the CPU time that a process has taken (Linux: proc(5), fields 14 and 15)."""
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _others() -> set[int]:
    return set(range(os.cpu_count() or 1)) - {NODE_CORE} or {NODE_CORE}


async def _first_answer(port: int) -> bytes:
    async with asyncio.timeout(60), httpx.AsyncClient() as client:
        while True:
            try:
                answer = await client.post(f"http://127.0.0.1:{port}{PATH}", content=BODY)
                if answer.status_code == 200:
                    return answer.content
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.05)


async def _all_logged(broker: str, port: int) -> None:
    """Hold that as many decisions are in Kafka as the node counts."""
    async with asyncio.timeout(120), httpx.AsyncClient() as client:
        while True:
            health: dict[str, Any] = (await client.get(f"http://127.0.0.1:{port}/healthz")).json()
            if not health["undelivered"]:
                break
            await asyncio.sleep(0.1)
    async with AIOKafkaConsumer(bootstrap_servers=broker) as consumer:
        ends = await consumer.end_offsets([TopicPartition(DECISIONS, number) for number in range(PARTITIONS)])
    decided = sum(count for reason, count in health["answers"].items() if not reason.startswith("none."))
    if health["dropped"] or sum(ends.values()) < decided:
        raise SystemExit(f"decisions were lost: {sum(ends.values())} in Kafka, the node says {health}")


async def _publish_each_second(broker: str, definition: PolicyDefinition) -> None:
    rng = np.random.default_rng(1)
    async with AIOKafkaProducer(bootstrap_servers=broker, max_request_size=8 << 20) as producer:
        version = 0
        while True:
            version += 1
            content = build_snapshot(definition, _rows_of(definition, rng), {}, version, parent="")
            partition = partition_for(definition.name, PARTITIONS)
            await producer.send_and_wait(SNAPSHOTS, content, definition.name.encode(), partition=partition)
            await asyncio.sleep(1.0)


def _rows_of(definition: PolicyDefinition, rng: np.random.Generator) -> list[tuple[RowKey, Statistics]]:
    """Return what 200 decisions an arm might have taught, in grid units."""
    rows = []
    for arm in definition.arm_names:
        X = rng.integers(0, 4097, (200, definition.dimension)).astype(np.int16)
        X[:, 0] = 4096
        statistics = Statistics(definition.dimension, contributions(X, rng.integers(0, 2, 200) * 2**15))
        rows.append((RowKey(definition.name, definition.generation, "all", arm, 0), statistics))
    return rows


def _policy() -> PolicyDefinition:
    arms = "".join(f'[[arms]]\nname = "arm-{number}"\n' for number in range(ARMS))
    features = "".join(
        f'[[context]]\nname = "f{i}"\nkind = "numeric"\nlow = 0.0\nhigh = 1.0\n' for i in range(DIMENSION - 1)
    )
    return load_policy(
        f"""
name = "bench"
{arms}
{features}
[segments]
default = "all"
[algorithm]
name = "linear_thompson"
[reward]
low = 0.0
high = 1.0
[[reward.outcomes]]
kind = "click"
worth = 1.0
window = "10m"
[exploration]
floor = 0.01
""",
        "serving bench",
    )
