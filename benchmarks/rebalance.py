"""A worker joins a group: how long policies have no new snapshots, and what workers open of what they had.

worker 0   ├──── all partitions ────────┤ rests ├── half of them ─────────
worker 1                      starts ├──────────┤ opens the other half ───
policy     s  s  s  s  s  s  s  s  s      · · ·  silent · · ·     s  s  s
"""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, pairwise
from pathlib import Path
from typing import NamedTuple

from aiokafka import AIOKafkaProducer

from benchmarks.load import Load, policy
from benchmarks.report import Row
from pipeline.audit.record import Operator
from pipeline.brokers import default_cache_dir, running_broker
from pipeline.cli.control import apply_policy
from pipeline.codec import avro
from pipeline.stream.log.follow import TopicFollower
from pipeline.stream.log.topics import SNAPSHOTS, create_topics, topic_specs

POLICIES = 8
EVENTS_PER_S = 400
STEADY_S = 10.0
"""Of snapshots, before and after the second worker joins."""
WITHIN_S = 240.0
BATCH_S = 0.1


class Run(NamedTuple):
    """One worker that joined."""

    longest_s: float
    """In which some policy had no new snapshot."""
    none_s: float
    """In which no policy had one."""
    opened: int
    """Partitions, by both workers and all stages, from the second one's start on."""
    partitions: int
    """Of all stages."""


def measure(partitions: int, repetitions: int) -> list[Row]:
    """Let a second worker join a first one, on a Kafka of its own each time."""
    runs = [_run_once(partitions, seed) for seed in range(repetitions)]
    name = f"a second worker joins, {partitions} partitions"
    return [
        Row(f"{name}: the longest that a policy had no new snapshot", "s", tuple(run.longest_s for run in runs)),
        Row(f"{name}: the longest that none had one", "s", tuple(run.none_s for run in runs)),
        Row(f"{name}: partitions opened, of {runs[0].partitions}", "", tuple(float(run.opened) for run in runs)),
    ]


def _run_once(partitions: int, seed: int) -> Run:
    with (
        running_broker("kafka", cache_dir=default_cache_dir(), fresh=True) as broker,
        tempfile.TemporaryDirectory() as state,
    ):
        return asyncio.run(_play(broker.bootstrap_servers, partitions, Path(state), seed))


async def _play(broker: str, partitions: int, state: Path, seed: int) -> Run:
    await create_topics(broker, topic_specs("pipeline", partitions))
    for number in range(POLICIES):
        await apply_policy(broker, policy(0, name=f"bench-{number}"), Operator("benchmarks", "policy apply"))
    seen: defaultdict[str, list[float]] = defaultdict(list)
    watching = asyncio.create_task(_watch(broker, seen))
    sending = asyncio.create_task(_send(broker, seed))
    try:
        with _worker(broker, partitions, state, 0):
            await _steady(seen, time.monotonic())
            joined_s = time.monotonic()
            opened = _opened(state, 0)
            with _worker(broker, partitions, state, 1):
                await _until_moved(state)
                await _steady(seen, time.monotonic())
            opened = _opened(state, 0) + _opened(state, 1) - opened
    finally:
        for task in (watching, sending):
            task.cancel()
        await asyncio.gather(watching, sending, return_exceptions=True)
    gaps = [_gap(times, joined_s) for times in seen.values()]
    return Run(max(gaps), _gap(sorted(chain.from_iterable(seen.values())), joined_s), opened, 3 * partitions)


def _gap(times: Sequence[float], since_s: float) -> float:
    return max(after - before for before, after in pairwise(times) if after >= since_s)


def _opened(state: Path, number: int) -> int:
    return len(re.findall(r"\brestored\b", (state / f"{number}.log").read_text()))


async def _until_moved(state: Path) -> None:
    deadline_s = time.monotonic() + WITHIN_S
    while not _opened(state, 1):
        if time.monotonic() > deadline_s:
            raise SystemExit("the second worker has opened nothing")
        await asyncio.sleep(0.1)


async def _steady(seen: dict[str, list[float]], since_s: float) -> None:
    """Wait until every policy has had snapshots for so long, none of them late."""
    deadline_s = time.monotonic() + WITHIN_S
    while time.monotonic() < deadline_s:
        await asyncio.sleep(0.2)
        now_s = time.monotonic()
        begins = [next((at for at in times if at >= since_s), now_s) for times in seen.values()]
        if len(begins) == POLICIES and now_s - max(begins) >= STEADY_S:
            return
    raise SystemExit(f"not every policy has snapshots: {[(name, len(times)) for name, times in seen.items()]}")


async def _watch(broker: str, seen: dict[str, list[float]]) -> None:
    follower = TopicFollower(broker, SNAPSHOTS)
    await follower.start()
    try:
        while True:
            for record in await follower.poll():
                if record.value is not None and b"/part/" not in (record.key or b""):
                    seen[avro.decode_as("snapshot", record.value)["policy"]].append(time.monotonic())
    finally:
        await follower.stop()


async def _send(broker: str, seed: int) -> None:
    """Send decisions and outcomes at a steady rate, of all policies in turn."""
    load = Load(int(EVENTS_PER_S * 4 * WITHIN_S), 0, "json", seed, lead_ms=60_000)
    producer = AIOKafkaProducer(bootstrap_servers=broker, linger_ms=5)
    await producer.start()
    try:
        began_s = time.monotonic()
        for sent, record in enumerate(load.records(), 1):
            name = b'"bench-%d"' % (sent % POLICIES)
            await producer.send(record.topic, record.value.replace(b'"bench"', name), key=record.key)
            if sent % int(EVENTS_PER_S * BATCH_S) == 0:
                await asyncio.sleep(began_s + sent / EVENTS_PER_S - time.monotonic())
    finally:
        await producer.stop()


@contextmanager
def _worker(broker: str, partitions: int, state: Path, number: int) -> Iterator[None]:
    with (state / f"{number}.log").open("wb") as log:
        command = [
            *(sys.executable, "-m", "pipeline", "worker", "--broker", broker, "--log-level", "INFO"),
            *("--state-dir", str(state / str(number)), "--partitions", str(partitions)),
        ]
        worker = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)  # noqa: S603  our own
    try:
        yield
        if worker.poll() is not None:
            raise SystemExit(f"worker {number} ended with {worker.returncode}")
    finally:
        worker.terminate()
        worker.wait(60)
