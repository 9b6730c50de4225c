"""Run the whole worker, one process or several: all is in the broker, how fast does it become a snapshot of it all.

    warm-up        a first load, through the processes and into a snapshot
    stop           the processes stand still (SIGSTOP) while the load is put into the broker
    go on          from here on the clock and the processes' CPU time are read, until the complete snapshot is there

That snapshot's hash must be the one of sums taken independently (`expected.py`), of both loads together.
"""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from aiokafka import AIOKafkaProducer

from benchmarks.expected import sha256
from benchmarks.load import Load, plain_policy, policy
from benchmarks.process import cpu_s, peak_rss_mib, waited_s
from benchmarks.report import Row
from pipeline.audit.record import Operator
from pipeline.brokers import default_cache_dir, running_broker
from pipeline.cli.control import apply_policy
from pipeline.codec import avro
from pipeline.stream.log.follow import TopicFollower
from pipeline.stream.log.topics import SNAPSHOTS, create_topics, topic_specs

PARTITIONS = 4
DEADLINE_S = 300.0
WARM_UP = 4_000
LEAD_MS = 60_000


class Run(NamedTuple):
    """What one run has taken."""

    events: int
    wall_s: float
    cpu_s: float
    """Of the worker processes alone."""
    waited_s: float
    """How long they were ready to run and had no core."""
    peak_rss_mib: float
    """The highest of one process."""


def measure(decisions: int, dimension: int, encoding: str, repetitions: int, processes: int = 1) -> list[Row]:
    """Run one case on a fresh local Kafka each time."""
    runs = [run_once(decisions, dimension, encoding, seed, processes) for seed in range(repetitions)]
    kind = f"linear d={dimension}" if dimension else "beta"
    name = f"worker{'' if processes == 1 else f's: {processes}'}, {kind}, {encoding}"
    return rows_of(name, runs)


def rows_of(name: str, runs: Sequence[Run]) -> list[Row]:
    """Tell runs by the clock and by CPU time."""
    walls_s, cpus_s = tuple(run.wall_s for run in runs), tuple(run.cpu_s for run in runs)
    peak_mib = max(run.peak_rss_mib for run in runs)
    by_clock = tuple(run.events / run.wall_s for run in runs)
    by_cpu = tuple(run.events / run.cpu_s for run in runs)
    each_us = tuple(run.cpu_s / run.events * 1e6 for run in runs)
    waited = tuple(run.waited_s / run.wall_s for run in runs)
    return [
        Row(f"{name}: by wall clock", "events/s", by_clock, walls_s, cpus_s, peak_mib),
        Row(f"{name}: by CPU time", "events/CPU-s", by_cpu, walls_s, cpus_s, peak_mib),
        Row(f"{name}: of CPU an event", "µs", each_us, walls_s, cpus_s),
        Row(f"{name}: ready to run, and no core free", "s of each s", waited, walls_s, cpus_s),
    ]


def run_once(decisions: int, dimension: int, encoding: str, seed: int, processes: int = 1) -> Run:
    """Play one load through `processes` workers on a Kafka of its own."""
    # Near enough to now that no window closes, whatever the clock does to idle partitions.
    warm = Load(WARM_UP, dimension, encoding, seed + 1_000, first=decisions, lead_ms=LEAD_MS)
    load = Load(decisions, dimension, encoding, seed, lead_ms=LEAD_MS)
    with (
        running_broker("kafka", cache_dir=default_cache_dir(), fresh=True) as broker,
        tempfile.TemporaryDirectory() as state,
    ):
        return asyncio.run(play(broker.bootstrap_servers, warm, load, Path(state), processes))


async def play(broker: str, warm: Load, load: Load, state: Path, processes: int) -> Run:
    """Let workers of a broker handle a load, behind another that warms them."""
    await create_topics(broker, topic_specs("pipeline", PARTITIONS))
    await apply_policy(broker, policy(load.dimension), Operator("benchmarks", "policy apply"))
    follower = TopicFollower(broker, SNAPSHOTS)
    await follower.start()
    try:
        with running_workers(broker, state, processes) as workers:
            await all_assigned(state, processes)
            await produce(broker, warm)
            await until_hash(follower, workers, hash_of(warm))
            for worker in workers:
                worker.send_signal(signal.SIGSTOP)
            await produce(broker, load)
            expected = hash_of(warm, load)
            pids = [worker.pid for worker in workers]
            cpu_before_s, waited_before_s = sum(map(cpu_s, pids)), sum(map(waited_s, pids))
            started_s = time.monotonic()
            for worker in workers:
                worker.send_signal(signal.SIGCONT)
            await until_hash(follower, workers, expected)
            return Run(
                load.events,
                time.monotonic() - started_s,
                sum(map(cpu_s, pids)) - cpu_before_s,
                sum(map(waited_s, pids)) - waited_before_s,
                max(map(peak_rss_mib, pids)),
            )
    finally:
        await follower.stop()


def hash_of(*loads: Load) -> str:
    """Return the `posterior_sha256` of all loads together, which have been produced."""
    sums = loads[0].sums()
    for load in loads[1:]:
        for key, row in load.sums().items():
            known = sums.get(key)
            sums[key] = row if known is None else [a + b for a, b in zip(known, row, strict=True)]
    return sha256(plain_policy(loads[0].dimension), sums)


@contextmanager
def running_workers(broker: str, state: Path, processes: int, *options: str) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Start workers with a folder and a log each below `state`; stop them at the end."""
    workers = []
    try:
        for number in range(processes):
            with (state / f"worker-{number}.log").open("wb") as log:
                command = [
                    *(sys.executable, "-m", "pipeline", "worker", "--broker", broker, "--log-level", "INFO"),
                    *("--state-dir", str(state / f"worker-{number}"), "--partitions", str(PARTITIONS)),
                    *options,
                ]
                workers.append(subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT))  # noqa: S603  our own
        yield workers
    finally:
        for worker in workers:
            worker.send_signal(signal.SIGCONT)
            worker.terminate()
        for worker in workers:
            worker.wait(60)


async def all_assigned(state: Path, processes: int) -> None:
    """Wait until each worker has restored partitions of its own: rebalances are over."""
    deadline_s = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline_s:
        found = [len(list((state / f"worker-{number}").rglob("CURRENT"))) for number in range(processes)]
        if all(found):
            return
        await asyncio.sleep(0.2)
    raise SystemExit(f"workers have opened no partitions in time: {found}")


async def produce(broker: str, load: Load) -> None:
    """Put the whole load into the broker."""
    producer = AIOKafkaProducer(bootstrap_servers=broker, linger_ms=50, max_batch_size=1 << 18)
    await producer.start()
    try:
        for record in load.records():
            await producer.send(record.topic, record.value, key=record.key)
    finally:
        await producer.stop()


async def until_hash(follower: TopicFollower, workers: Sequence[subprocess.Popen[bytes]], expected: str) -> bytes:
    """Wait for the snapshot whose statistics have this hash; return its record."""
    deadline_s = time.monotonic() + DEADLINE_S
    last: dict[str, Any] = {}
    while time.monotonic() < deadline_s:
        for record in await follower.poll():
            if record.value is None or b"/part/" in (record.key or b""):
                continue
            last = avro.decode_as("snapshot", record.value)
            if last["posterior_sha256"] == expected:
                return bytes(record.value)
        ended = [worker.returncode for worker in workers if worker.poll() is not None]
        if ended:
            raise SystemExit(f"a worker ended with {ended[0]}")
    seen = last.get("posterior_sha256")
    raise SystemExit(f"no snapshot with hash {expected} in {DEADLINE_S:.0f} s; the last has {seen}")


def is_complete(segment: dict[str, Any], load: Load) -> bool:
    """Whether a snapshot's segment has the counts and reward sums of the load."""
    arms = {f"arm-{i}": i for i in range(len(load.counts))}
    return all(
        count == load.counts[arms[name]] and reward_sum == load.rewards[arms[name]] << 15
        for name, count, reward_sum in zip(segment["arms"], segment["counts"], segment["reward_sums"], strict=True)
    )
