"""Load programs for HTTP: `wrk` for all that a server takes, `oha` for a steady rate, and a small one of ours.

The two are not ours, so that what they see is not what we would like to. Ours is for runs that only ask whether answers
are right: it measures itself as much as the server.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np


class Load(NamedTuple):
    """What a load program saw."""

    requests_per_s: float
    p50_ms: float
    p99_ms: float
    p999_ms: float
    failed: int
    per_cpu_s: float = 0.0
    """Requests per second of the server's own CPU time: what a busy machine does not change much."""


class Target(NamedTuple):
    """What is asked."""

    port: int
    path: str
    body: str


JSON = "application/json"


def has(program: str) -> bool:
    """Whether a load program is on the path."""
    return shutil.which(program) is not None


async def flat_out(target: Target, seconds: int, connections: int, folder: Path) -> Load:
    """Ask as often as is answered, with wrk."""
    script = folder / "post.lua"
    script.write_text(
        f'wrk.method = "POST"\nwrk.body = [[{target.body}]]\nwrk.headers["content-type"] = "{JSON}"\n'
        "done = function(summary, latency)\n"
        '  io.write(string.format("RESULT %d %d %d %d %d %d\\n", summary.requests, summary.duration,'
        " latency:percentile(50), latency:percentile(99), latency:percentile(99.9),"
        " summary.errors.status + summary.errors.read + summary.errors.timeout + summary.errors.connect))\nend\n"
    )
    text = await _run("wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(script), _url(target))
    found = re.search(r"RESULT (\d+) (\d+) (\d+) (\d+) (\d+) (\d+)", text)
    if found is None:
        raise SystemExit(f"wrk said nothing of its result: {text}")
    requests, took_us, *latencies_us, failed = map(int, found.groups())
    return Load(requests / took_us * 1e6, *(us / 1_000 for us in latencies_us), failed)


async def steady(target: Target, seconds: int, connections: int, rate: int) -> Load:
    """Ask `rate` times a second, whatever comes back, with oha; latency counts from when a request was due."""
    text = await _run(
        *("oha", "-z", f"{seconds}s", "-c", str(connections), "-q", str(rate), "--latency-correction", "--no-tui"),
        *("-m", "POST", "-T", JSON, "-d", target.body, "--output-format", "json", _url(target)),
    )
    told = json.loads(text)
    latencies = told["latencyPercentiles"]
    served = told["statusCodeDistribution"].get("200", 0)
    failed = sum(told["statusCodeDistribution"].values()) - served
    return Load(
        told["summary"]["requestsPerSec"], *(latencies[name] * 1_000 for name in ("p50", "p99", "p99.9")), failed
    )


async def small(target: Target, seconds: int, connections: int) -> Load:
    """Ask one after the other on each connection."""
    began_s = time.perf_counter()
    each = await asyncio.gather(*(_one_by_one(target, began_s + seconds) for _ in range(connections)))
    latencies_s = np.concatenate([np.array(latencies) for latencies, _ in each])
    percentiles = (float(np.percentile(latencies_s, at)) * 1e3 for at in (50.0, 99.0, 99.9))
    return Load(len(latencies_s) / (time.perf_counter() - began_s), *percentiles, sum(failed for _, failed in each))


async def _one_by_one(target: Target, until_s: float) -> tuple[Sequence[float], int]:
    reader, writer = await asyncio.open_connection("127.0.0.1", target.port)
    head = f"POST {target.path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {JSON}\r\n"
    head += f"content-length: {len(target.body)}\r\n\r\n"
    latencies_s, failed = [], 0
    while time.perf_counter() < until_s:
        began_s = time.perf_counter()
        writer.write((head + target.body).encode())
        answered = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = re.search(rb"content-length: (\d+)", answered)
        await reader.readexactly(int(length[1]) if length else 0)
        failed += not answered.startswith(b"http/1.1 200")
        latencies_s.append(time.perf_counter() - began_s)
    writer.close()
    return latencies_s, failed


def _url(target: Target) -> str:
    return f"http://127.0.0.1:{target.port}{target.path}"


async def _run(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    return out.decode()
