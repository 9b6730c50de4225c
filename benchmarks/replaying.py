"""Count the past again: `pipeline replay` of decisions and outcomes, and `pipeline verify` of the ledger, in-process.

A worker has made the ledger and the snapshot before. Replayed rows must be the sums that were taken apart, and the
snapshot must be found equal.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.load import Load, policy
from benchmarks.report import Row
from benchmarks.timing import own_peak_mib
from benchmarks.worker import LEAD_MS, PARTITIONS, all_assigned, hash_of, produce, running_workers, until_hash
from pipeline.audit.record import Operator
from pipeline.brokers import default_cache_dir, running_broker
from pipeline.cli.control import apply_policy
from pipeline.publish.outline import kept
from pipeline.replay.proof.verify import verify_snapshots
from pipeline.replay.recounting.run import Request, replay
from pipeline.stream.log.follow import TopicFollower
from pipeline.stream.log.topics import SNAPSHOTS, create_topics, topic_specs

BY = Operator("benchmarks", "replay")


class _Taken(NamedTuple):
    wall_s: float
    cpu_s: float


def measure(decisions: int, repetitions: int) -> list[Row]:
    """Replay and verify a load, on a fresh local Kafka each time."""
    loads = [Load(decisions, 16, "json", seed, lead_ms=LEAD_MS) for seed in range(repetitions)]
    runs = [_run(load) for load in loads]
    rows = []
    for name, taken in (
        ("replay, linear d=16, json", [run[0] for run in runs]),
        ("verify, linear d=16", [run[1] for run in runs]),
    ):
        walls_s, cpus_s = tuple(one.wall_s for one in taken), tuple(one.cpu_s for one in taken)
        pairs = list(zip(loads, taken, strict=True))
        by_clock = tuple(load.events / one.wall_s for load, one in pairs)
        by_cpu = tuple(load.events / one.cpu_s for load, one in pairs)
        rows.append(Row(f"{name}: by wall clock", "events/s", by_clock, walls_s, cpus_s, own_peak_mib()))
        rows.append(Row(f"{name}: by CPU time", "events/CPU-s", by_cpu, walls_s, cpus_s, own_peak_mib()))
    return rows


def _run(load: Load) -> tuple[_Taken, _Taken]:
    with (
        running_broker("kafka", cache_dir=default_cache_dir(), fresh=True) as broker,
        tempfile.TemporaryDirectory() as folder,
    ):
        return asyncio.run(_play(broker.bootstrap_servers, load, Path(folder)))


async def _play(broker: str, load: Load, folder: Path) -> tuple[_Taken, _Taken]:
    await create_topics(broker, topic_specs("pipeline", PARTITIONS))
    await apply_policy(broker, policy(load.dimension), BY)
    follower = TopicFollower(broker, SNAPSHOTS)
    await follower.start()
    try:
        with running_workers(broker, folder, 1) as workers:
            await all_assigned(folder, 1)
            await produce(broker, load)
            content = await until_hash(follower, workers, hash_of(load))
    finally:
        await follower.stop()
    (_, rebuilt), replayed = await _timed(
        lambda: replay(broker, Request("bench", 2, folder / "replay"), BY, lambda _done, _total: None)
    )
    found = {(key.segment, key.arm, key.bucket): row.sums.tolist() for key, row in rebuilt.rows.items()}
    if found != load.sums():
        raise SystemExit("what was replayed is not what the load comes to")
    (verdict,), verified = await _timed(lambda: verify_snapshots(broker, [kept(content)], lambda _done, _total: None))
    if verdict.difference is not None:
        raise SystemExit(f"the snapshot is not its prefix of the ledger: {verdict.difference}")
    return replayed, verified


async def _timed(work: Callable[[], Awaitable[Any]]) -> tuple[Any, _Taken]:
    began_s, cpu_before_s = time.monotonic(), time.process_time()
    found = await work()
    return found, _Taken(time.monotonic() - began_s, time.process_time() - cpu_before_s)
