"""Outcome due → the snapshot that contains it is in use on a follower, at a steady load.

    due         the moment at which the pace has the outcome sent (`paced.py`)
    credited    its first ledger record, at (partition, offset)
    contained   the first snapshot whose ledger offset of that partition is above it
    in use      that snapshot, or a later one, went live on the follower of this process

What lies between is told hop by hop (`hops.py`). All clocks are one machine's. The last snapshot must have the hash of
sums that were taken apart.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import numpy as np
import orjson

from benchmarks.hops import Cut, Moments, hops, reached, read_outcomes, read_stages, read_steps
from benchmarks.load import OUTCOME_SHARE, Load, policy
from benchmarks.process import cpu_s, peak_rss_mib
from benchmarks.report import Row
from benchmarks.worker import PARTITIONS, WARM_UP, all_assigned, hash_of, produce, running_workers
from pipeline.audit.record import Operator
from pipeline.brokers import default_cache_dir
from pipeline.brokers.local_kafka import LocalKafka
from pipeline.brokers.ports import free_ports
from pipeline.cli.control import apply_policy
from pipeline.serve.following.follower import SnapshotFollower
from pipeline.serve.following.snapshot import LoadedSnapshot
from pipeline.stream.log.topics import create_topics, topic_specs

RATES = (1_000, 5_000, 10_000, 20_000)
LEAD_S = 5.0
"""What the pacing process has for its start: it makes its records first."""
PER_LEAD_S = 20_000
"""Events that it makes in a second, at least."""
DRAINED_WITHIN_S = 120.0
KEPT_S = 0.1
"""A load is kept if no event was later than this at the producer."""


class Cpu(NamedTuple):
    """What a run has taken of the machine, in seconds of CPU."""

    worker: float
    broker: float
    producer: float
    follower: float


class Run(NamedTuple):
    """One load."""

    delays_ms: Moments
    hops_ms: Mapping[str, Moments]
    steps: Mapping[str, int]
    """Of each stage."""
    latest_s: float
    """The most that an event was handed to the producer after its moment."""
    events: int
    sent_within_s: float
    wall_s: float
    cpu_s: Cpu
    peak_rss_mib: float
    """Of the worker."""
    longest_stall_s: float
    """How long its event loop was held at the most, since it began."""
    short_stalls: float
    """The share of looks at it that found it held for 20 ms at the most."""


def measure(rates: Sequence[int], seconds: float, interval: str, repetitions: int) -> list[Row]:
    """Play each rate on a fresh local Kafka each time."""
    rows = []
    for rate in rates:
        runs = [run_once(rate, seconds, interval, seed) for seed in range(repetitions)]
        rows += _rows(f"freshness at {rate:,} events/s, published every {interval}", runs)
    return rows


def _rows(name: str, runs: Sequence[Run]) -> list[Row]:
    walls_s, cpus_s = tuple(run.wall_s for run in runs), tuple(run.cpu_s.worker for run in runs)
    peak_mib = max(run.peak_rss_mib for run in runs)
    rows = []
    for percentile in (50.0, 99.0, 99.9):
        values = tuple(float(np.percentile(run.delays_ms, percentile)) for run in runs)
        rows.append(Row(f"{name}: p{percentile:g}", "ms", values, walls_s, cpus_s, peak_mib))
    for hop in runs[0].hops_ms:
        for percentile in (50.0, 99.0):
            values = tuple(float(np.percentile(run.hops_ms[hop], percentile)) for run in runs)
            rows.append(Row(f"{name}: {hop}, p{percentile:g}", "ms", values))
    for stage in runs[0].steps:
        steps = tuple(run.steps[stage] / run.wall_s for run in runs)
        rows.append(Row(f"{name}: steps of {stage}", "steps/s", steps))
    for process in Cpu._fields:
        each_us = tuple(getattr(run.cpu_s, process) / run.events * 1e6 for run in runs)
        rows.append(Row(f"{name}: CPU of the {process}, an event", "µs", each_us))
    stalls_ms = tuple(run.longest_stall_s * 1e3 for run in runs)
    rows.append(Row(f"{name}: the worker's event loop held, at the most", "ms", stalls_ms))
    rows.append(Row(f"{name}: of looks at it, held for 20 ms at most", "", tuple(run.short_stalls for run in runs)))
    kept = all(run.latest_s <= KEPT_S for run in runs)
    told = "the load was kept" if kept else "THE LOAD WAS NOT KEPT"
    rows.append(Row(f"{name}: sent ({told})", "events/s", tuple(run.events / run.sent_within_s for run in runs)))
    rows.append(Row(f"{name}: latest at the producer", "ms", tuple(run.latest_s * 1e3 for run in runs)))
    return rows


def run_once(rate: int, seconds: float, interval: str, seed: int) -> Run:
    """Play one load."""
    load = Load(round(rate * seconds / (1 + OUTCOME_SHARE)), 16, "json", seed, lead_ms=60_000)
    kafka = LocalKafka.start(default_cache_dir(), fresh=True)
    try:
        with tempfile.TemporaryDirectory() as state:
            return asyncio.run(_play(kafka, load, rate, interval, Path(state), seed))
    finally:
        kafka.stop()


async def _play(kafka: LocalKafka, load: Load, rate: int, interval: str, state: Path, seed: int) -> Run:
    broker = kafka.bootstrap_servers
    await create_topics(broker, topic_specs("pipeline", PARTITIONS))
    await apply_policy(broker, policy(16, interval=interval), Operator("benchmarks", "policy apply"))
    warm = Load(WARM_UP, 16, "json", seed + 1_000, first=load.decisions, lead_ms=60_000)
    uses: list[Cut] = []
    hashes: list[str] = []

    async def note(snapshot: LoadedSnapshot) -> None:
        at_ms = time.time() * 1e3
        uses.extend(Cut(partition, offset, at_ms) for partition, offset in snapshot.ledger_offsets.items())
        hashes.append(snapshot.posterior_sha256)

    after_s = _outcomes(load, rate)  # before anything is timed: it would keep the follower waiting
    following = asyncio.create_task(SnapshotFollower(broker, note).follow())
    try:
        (port,) = free_ports(1)
        with running_workers(broker, state, 1, "--metrics-port", str(port)) as (worker,):
            await all_assigned(state, 1)
            await produce(broker, warm)
            expected = hash_of(warm, load)
            await _until_live(hashes, hash_of(warm), worker)
            before = Cpu(cpu_s(worker.pid), cpu_s(kafka.pid), 0.0, time.process_time())
            start_s = time.time() + LEAD_S + load.decisions / PER_LEAD_S
            told = await _pace(broker, load, seed, rate, start_s)
            await _until_live(hashes, expected, worker)
            wall_s, peak_mib = time.time() - start_s, peak_rss_mib(worker.pid)
            stalls = await _stalls(port)
            after = Cpu(cpu_s(worker.pid), cpu_s(kafka.pid), told["cpu_s"], time.process_time())
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
    due_ms = {action_id: (start_s + late_s) * 1e3 for action_id, late_s in after_s.items()}
    outcomes = await read_outcomes(broker, due_ms)
    return Run(
        reached(outcomes, uses) - outcomes.due_ms,
        hops(outcomes, {**await read_stages(broker, "bench"), "in use": uses}),
        await read_steps(broker, start_s * 1e3),
        told["latest_s"],
        told["events"],
        told["seconds"],
        wall_s,
        Cpu(*(b - a for a, b in zip(before, after, strict=True))),
        peak_mib,
        *stalls,
    )


async def _stalls(port: int) -> tuple[float, float]:
    """Ask the worker how long its event loop was held: the longest, in seconds, and the share of at most 20 ms."""
    async with httpx.AsyncClient() as client:
        page = (await client.get(f"http://127.0.0.1:{port}/metrics", timeout=60.0)).text
    told = dict(line.rsplit(" ", 1) for line in page.splitlines() if line.startswith("pipeline_event_loop"))
    name = "pipeline_event_loop_stall_seconds"
    short = float(told[f'{name}_bucket{{le="0.02"}}']) / float(told[f"{name}_count"])
    return float(told["pipeline_event_loop_longest_stall_seconds"]), short


async def _pace(broker: str, load: Load, seed: int, rate: int, start_s: float) -> dict[str, Any]:
    """Have the load sent by a process of its own; return what it tells."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.paced", broker),
        *(str(load.decisions), str(seed), str(rate), str(start_s)),
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    told: dict[str, Any] = orjson.loads(output)
    return told


def _outcomes(load: Load, rate: int) -> dict[str, float]:
    """Return how long after the start each outcome is due, by action."""
    return {
        record.key.decode(): number / rate for number, record in enumerate(load.records()) if record.topic == "outcomes"
    }


async def _until_live(hashes: Sequence[str], expected: str, worker: subprocess.Popen[bytes]) -> None:
    deadline_s = time.monotonic() + DRAINED_WITHIN_S
    while expected not in hashes[-1:]:
        if worker.poll() is not None:
            raise SystemExit(f"the worker ended with {worker.returncode}")
        if time.monotonic() > deadline_s:
            raise SystemExit(f"no live snapshot has hash {expected} in {DRAINED_WITHIN_S:.0f} s: {hashes[-1:]}")
        await asyncio.sleep(0.05)
