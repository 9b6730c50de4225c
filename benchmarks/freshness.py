"""Outcome due → the snapshot that contains it is in use on a follower, at a steady load.

    due         the moment at which the pace has the outcome sent (`paced.py`)
    credited    its first ledger record, at (partition, offset)
    contained   the first snapshot whose ledger offset of that partition is above it
    in use      that snapshot, or a later one, went live on the follower of this process

All clocks are one machine's. The last snapshot must have the hash of sums that were taken apart.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from benchmarks.load import OUTCOME_SHARE, Load, policy
from benchmarks.process import cpu_s, peak_rss_mib
from benchmarks.report import Row
from benchmarks.worker import PARTITIONS, WARM_UP, all_assigned, hash_of, produce, running_workers
from pipeline.brokers import default_cache_dir, running_broker
from pipeline.cli.policy import apply_policy
from pipeline.codec import avro
from pipeline.serve.follower import SnapshotFollower
from pipeline.serve.snapshot import LoadedSnapshot
from pipeline.stream.follow import TopicFollower
from pipeline.stream.topics import REWARDS, create_topics, topic_specs

RATES = (1_000, 5_000, 10_000, 20_000)
LEAD_S = 5.0
"""What the pacing process has for its start: it makes its records first."""
PER_LEAD_S = 20_000
"""Events that it makes in a second, at least."""
DRAINED_WITHIN_S = 120.0
KEPT_S = 0.1
"""A load is kept if no event was later than this at the producer."""


class Live(NamedTuple):
    """A snapshot that went live."""

    at_s: float
    ledger_offsets: Mapping[int, int]


class Run(NamedTuple):
    """One load."""

    delays_ms: NDArray[np.float64]
    latest_s: float
    """The most that an event was handed to the producer after its moment."""
    events_per_s: float
    """Sent, by the clock."""
    wall_s: float
    cpu_s: float
    """Of the worker."""
    peak_rss_mib: float


def measure(rates: Sequence[int], seconds: float, interval: str, repetitions: int) -> list[Row]:
    """Play each rate on a fresh local Kafka each time."""
    rows = []
    for rate in rates:
        runs = [run_once(rate, seconds, interval, seed) for seed in range(repetitions)]
        name = f"freshness at {rate:,} events/s, published every {interval}"
        walls_s, cpus_s = tuple(run.wall_s for run in runs), tuple(run.cpu_s for run in runs)
        peak_mib = max(run.peak_rss_mib for run in runs)
        for percentile in (50.0, 99.0, 99.9):
            values = tuple(float(np.percentile(run.delays_ms, percentile)) for run in runs)
            rows.append(Row(f"{name}: p{percentile:g}", "ms", values, walls_s, cpus_s, peak_mib))
        kept = all(run.latest_s <= KEPT_S for run in runs)
        told = "the load was kept" if kept else "THE LOAD WAS NOT KEPT"
        rows.append(Row(f"{name}: sent ({told})", "events/s", tuple(run.events_per_s for run in runs)))
        rows.append(Row(f"{name}: latest at the producer", "ms", tuple(run.latest_s * 1e3 for run in runs)))
    return rows


def run_once(rate: int, seconds: float, interval: str, seed: int) -> Run:
    """Play one load."""
    load = Load(round(rate * seconds / (1 + OUTCOME_SHARE)), 16, "json", seed, lead_ms=60_000)
    with (
        running_broker("kafka", cache_dir=default_cache_dir(), fresh=True) as broker,
        tempfile.TemporaryDirectory() as state,
    ):
        return asyncio.run(_play(broker.bootstrap_servers, load, rate, interval, Path(state), seed))


async def _play(broker: str, load: Load, rate: int, interval: str, state: Path, seed: int) -> Run:
    await create_topics(broker, topic_specs("pipeline", PARTITIONS))
    await apply_policy(broker, policy(16, interval=interval))
    warm = Load(WARM_UP, 16, "json", seed + 1_000, first=load.decisions, lead_ms=60_000)
    lives: list[Live] = []
    hashes: list[str] = []

    async def note(snapshot: LoadedSnapshot) -> None:
        lives.append(Live(time.time(), snapshot.ledger_offsets))
        hashes.append(snapshot.posterior_sha256)

    following = asyncio.create_task(SnapshotFollower(broker, note).follow())
    try:
        with running_workers(broker, state, 1) as (worker,):
            await all_assigned(state, 1)
            await produce(broker, warm)
            await _until_live(hashes, hash_of(warm))
            cpu_before_s = cpu_s(worker.pid)
            start_s = time.time() + LEAD_S + load.decisions / PER_LEAD_S
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "benchmarks.paced", broker),
                *(str(load.decisions), str(seed), str(rate), str(start_s)),
                stdout=asyncio.subprocess.PIPE,
            )
            due = await asyncio.to_thread(_due, load, start_s, rate)  # while it makes the same ones
            expected = await asyncio.to_thread(hash_of, warm, load)
            output, _ = await process.communicate()
            told = orjson.loads(output)
            await _until_live(hashes, expected)
            wall_s, taken_s, peak_mib = (
                time.time() - start_s,
                cpu_s(worker.pid) - cpu_before_s,
                peak_rss_mib(worker.pid),
            )
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
    delays_ms = delays(due, await _credited(broker), lives)
    return Run(delays_ms, told["latest_s"], told["events"] / told["seconds"], wall_s, taken_s, peak_mib)


def _due(load: Load, start_s: float, rate: int) -> dict[str, float]:
    """Return the moment of each outcome, by action."""
    return {
        record.key.decode(): start_s + number / rate
        for number, record in enumerate(load.records())
        if record.topic == "outcomes"
    }


async def _until_live(hashes: Sequence[str], expected: str) -> None:
    deadline_s = time.monotonic() + DRAINED_WITHIN_S
    while expected not in hashes[-1:]:
        if time.monotonic() > deadline_s:
            raise SystemExit(f"no live snapshot has hash {expected} in {DRAINED_WITHIN_S:.0f} s: {hashes[-1:]}")
        await asyncio.sleep(0.05)


async def _credited(broker: str) -> dict[str, tuple[int, int]]:
    """Return by action where the ledger first has an outcome of it."""
    ledger = TopicFollower(broker, REWARDS)
    await ledger.start()
    found: dict[str, tuple[int, int]] = {}
    try:
        for record in await ledger.read_to_end():
            fields = avro.decode_as("reward", record.value)
            if fields["outcomes"]:
                found.setdefault(fields["action_id"], (record.partition, record.offset))
    finally:
        await ledger.stop()
    return found


def delays(
    due: Mapping[str, float], credited: Mapping[str, tuple[int, int]], lives: Sequence[Live]
) -> NDArray[np.float64]:
    """Return each outcome's milliseconds from its moment until a live snapshot contained it."""
    places: defaultdict[int, list[tuple[int, float]]] = defaultdict(list)
    for action_id, at_s in due.items():
        partition, offset = credited[action_id]
        places[partition].append((offset, at_s))
    found = []
    at_s = np.array([live.at_s for live in lives])
    for partition, some in places.items():
        ends = np.array([live.ledger_offsets.get(partition, 0) for live in lives])
        offsets, moments_s = (np.array(column) for column in zip(*some, strict=True))
        found.append((at_s[np.searchsorted(ends, offsets, side="right")] - moments_s) * 1e3)
    return np.concatenate(found)
