"""Run the peers of the worker: warmed up, stopped, loaded and let go as it is, until their sums are right."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson

from benchmarks.load import Load
from benchmarks.process import cpu_s, peak_rss_mib, waited_s
from benchmarks.worker import DEADLINE_S, LEAD_MS, PARTITIONS, Run, produce
from pipeline.brokers import default_cache_dir, running_broker
from pipeline.stream.log.follow import TopicFollower
from pipeline.stream.log.topics import TopicSpec, create_topics, topic_specs

FOLDER = Path(__file__).parent
WARM_UP = 1_000


class Peer(NamedTuple):
    """A program of the same work."""

    name: str
    program: str
    statistics: str
    """Topic that has each arm's latest sums; of several partitions the sum counts."""
    python: Path


def peers() -> list[Peer]:
    """Return those that can be run here."""
    own = FOLDER.parents[1] / ".venv-peers" / "bin" / "python"
    found = [
        Peer("Faust, an event at a time", "faust_program.py", "peer-faust-statistics-changelog", Path(sys.executable))
    ]
    if own.exists():
        found.append(Peer("Quix Streams", "quix_program.py", "peer-statistics", own))
    return found


def run_once(peer: Peer, decisions: int, dimension: int, seed: int) -> Run:
    """Play one load through a peer on a Kafka of its own."""
    warm = Load(WARM_UP, dimension, "json", seed + 1_000, first=decisions, lead_ms=LEAD_MS)
    load = Load(decisions, dimension, "json", seed, lead_ms=LEAD_MS)
    with (
        running_broker("kafka", cache_dir=default_cache_dir(), fresh=True) as broker,
        tempfile.TemporaryDirectory() as state,
    ):
        return asyncio.run(_play(peer, broker.bootstrap_servers, warm, load, Path(state)))


async def _play(peer: Peer, broker: str, warm: Load, load: Load, state: Path) -> Run:
    specs = [spec for spec in topic_specs("pipeline", PARTITIONS) if spec.name in ("decisions", "outcomes")]
    await create_topics(broker, [*specs, TopicSpec(peer.statistics, PARTITIONS, {})])
    follower = TopicFollower(broker, peer.statistics)
    await follower.start()
    sums: dict[tuple[int, str], Any] = {}
    with (state / "peer.log").open("wb") as log:
        process = subprocess.Popen(  # noqa: ASYNC220, S603  our own programs
            [str(peer.python), str(FOLDER / peer.program), broker, str(state / "tables")],
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=state,
        )
    try:
        await produce(broker, warm)
        await _until(follower, process, sums, expected(warm), state)
        process.send_signal(signal.SIGSTOP)
        await produce(broker, load)
        wanted = expected(warm, load)
        cpu_before_s, waited_before_s, started_s = cpu_s(process.pid), waited_s(process.pid), time.monotonic()
        process.send_signal(signal.SIGCONT)
        await _until(follower, process, sums, wanted, state)
        return Run(
            load.events,
            time.monotonic() - started_s,
            cpu_s(process.pid) - cpu_before_s,
            waited_s(process.pid) - waited_before_s,
            peak_rss_mib(process.pid),
        )
    finally:
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.wait()
        await follower.stop()


def expected(*loads: Load) -> dict[str, list[int]]:
    """Return arm → [n, Σr, Σr², b…, upper triangle of A], over all loads."""
    found: dict[str, list[int]] = {}
    for load in loads:
        for (_, arm, _), row in load.sums().items():
            known = found.get(arm)
            found[arm] = row if known is None else [a + b for a, b in zip(known, row, strict=True)]
    return found


def total(sums: Mapping[tuple[int, str], Any]) -> dict[str, list[int]]:
    """Add up each arm's latest sums over the partitions, in the same form."""
    found: dict[str, list[int]] = {}
    for (_, arm), fields in sums.items():
        upper = np.triu_indices(len(fields["b"]))
        matrix = np.array(fields["A"], np.int64).reshape(len(fields["b"]), -1)
        row = [fields["n"], fields["r"], fields["rr"], *fields["b"], *matrix[upper].tolist()]
        known = found.get(arm)
        found[arm] = row if known is None else [a + b for a, b in zip(known, row, strict=True)]
    return found


async def _until(
    follower: TopicFollower,
    process: subprocess.Popen[bytes],
    sums: dict[tuple[int, str], Any],
    wanted: Mapping[str, list[int]],
    state: Path,
) -> None:
    deadline_s = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline_s:
        latest = {}
        for record in await follower.poll():
            if record.value is not None:
                latest[record.partition, record.key.decode().strip('"')] = record.value
        sums.update({key: orjson.loads(value) for key, value in latest.items()})
        if latest and total(sums) == wanted:
            return
        if process.poll() is not None:
            break
    log = (state / "peer.log").read_text("utf-8", "replace")
    counted = {arm: row[:3] for arm, row in total(sums).items()}
    raise SystemExit(f"the peer's sums are not right in time: {counted}, wanted {wanted}\n{log[-3_000:]}")
