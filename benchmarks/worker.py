"""Measure the whole worker: all is in the broker, how fast does it become a snapshot that contains it all.

CPU is the worker process's own, from its first snapshot (the prior) to the one that is complete; the counts and
reward sums of that one must equal those of the load, arm by arm.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from aiokafka import AIOKafkaProducer

from benchmarks.load import Load, policy
from benchmarks.process import cpu_s, peak_rss_mib
from benchmarks.report import Row
from pipeline.brokers import default_cache_dir, running_broker
from pipeline.cli.policy import apply_policy
from pipeline.codec import avro
from pipeline.stream.follow import TopicFollower
from pipeline.stream.topics import SNAPSHOTS, create_topics, topic_specs

PARTITIONS = 4
DEADLINE_S = 600.0


def measure(decisions: int, dimension: int, encoding: str, repetitions: int) -> list[Row]:
    """Run one case on a fresh local Kafka each time."""
    runs = [_run(Load(decisions, dimension, encoding, seed)) for seed in range(repetitions)]
    kind = f"linear d={dimension}" if dimension else "beta"
    name = f"worker, {kind}, {encoding}"
    walls_s, cpus_s = tuple(run.wall_s for run in runs), tuple(run.cpu_s for run in runs)
    peak_mib = max(run.peak_rss_mib for run in runs)
    by_clock, by_cpu = (
        tuple(run.events / run.wall_s for run in runs),
        tuple(run.events / run.cpu_s for run in runs),
    )
    return [
        Row(f"{name}: by wall clock", "events/s", by_clock, walls_s, cpus_s, peak_mib),
        Row(f"{name}: by CPU time", "events/CPU-s", by_cpu, walls_s, cpus_s, peak_mib),
    ]


class Run(NamedTuple):
    """What one run has taken."""

    events: int
    wall_s: float
    cpu_s: float
    """Of the worker process alone."""
    peak_rss_mib: float


def _run(load: Load) -> Run:
    with (
        running_broker("kafka", cache_dir=default_cache_dir(), fresh=True) as broker,
        tempfile.TemporaryDirectory() as state,
    ):
        return asyncio.run(_play(broker.bootstrap_servers, load, Path(state)))


async def _play(broker: str, load: Load, state: Path) -> Run:
    await create_topics(broker, topic_specs("pipeline", PARTITIONS))
    await apply_policy(broker, policy(load._dimension))  # noqa: SLF001
    await produce(broker, load)
    follower = TopicFollower(broker, SNAPSHOTS)
    await follower.start()
    with (state / "worker.log").open("wb") as log:
        worker = subprocess.Popen(  # noqa: ASYNC220, S603  our own command
            [
                *(sys.executable, "-m", "pipeline", "worker", "--broker", broker),
                *("--state-dir", str(state / "tables"), "--partitions", str(PARTITIONS)),
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            return await _until_complete(follower, worker, load)
        finally:
            worker.terminate()
            worker.wait(60)
            await follower.stop()


async def produce(broker: str, load: Load) -> None:
    """Put the whole load into the broker."""
    producer = AIOKafkaProducer(bootstrap_servers=broker, linger_ms=50, max_batch_size=1 << 18)
    await producer.start()
    try:
        for record in load.records():
            await producer.send(record.topic, record.value, key=record.key)
    finally:
        await producer.stop()


async def _until_complete(follower: TopicFollower, worker: subprocess.Popen[bytes], load: Load) -> Run:
    started_s = cpu_before_s = 0.0
    deadline_s = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline_s:
        for record in await follower.poll():
            snapshot = avro.decode_as("snapshot", record.value)
            if not started_s:
                started_s, cpu_before_s = time.monotonic(), cpu_s(worker.pid)
            (segment,) = snapshot["segments"]
            if is_complete(segment, load):
                wall_s = time.monotonic() - started_s
                taken_s = cpu_s(worker.pid) - cpu_before_s
                return Run(load.decisions + load.outcomes, wall_s, taken_s, peak_rss_mib(worker.pid))
        if worker.poll() is not None:
            raise SystemExit(f"the worker ended with {worker.returncode}")
    raise SystemExit("no complete snapshot in time")


def is_complete(segment: dict[str, Any], load: Load) -> bool:
    """Whether a snapshot's segment has the counts and reward sums of the load."""
    arms = {f"arm-{i}": i for i in range(len(load.counts))}
    return all(
        count == load.counts[arms[name]] and reward_sum == load.rewards[arms[name]] << 15
        for name, count, reward_sum in zip(segment["arms"], segment["counts"], segment["reward_sums"], strict=True)
    )
