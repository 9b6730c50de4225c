"""Many events through one worker: whether what it takes stays bounded while windows close and state is deleted.

The load is paced by the worker alone: it is kept a bounded number of events ahead. Its event time goes faster than the
clock, so that a window of seconds closes thousands of times. Rows that are open are read from JOIN's own state, the
last record of each partition of its changelog; law 5 must hold in it at every look.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from benchmarks.load import OUTCOME_SHARE, Load, policy
from benchmarks.process import rss_mib
from benchmarks.soak_report import picture, table
from benchmarks.worker import is_complete
from pipeline.audit.record import Operator
from pipeline.brokers import default_cache_dir
from pipeline.brokers.local_kafka import LocalKafka
from pipeline.cli.control import apply_policy
from pipeline.codec import avro
from pipeline.join.progress import DECISIONS, OUTCOMES, Progress, imbalance, progress_from_bytes
from pipeline.stream.log.follow import TopicFollower
from pipeline.stream.log.topics import (
    JOIN_TABLE,
    LEARN_TABLE,
    SNAPSHOTS,
    TopicSpec,
    changelog_topic,
    create_topics,
    topic_specs,
)
from pipeline.stream.state.tables import PROGRESS

APP_ID = "pipeline"
PARTITIONS = 4
DECISIONS_PER_MS = 2
"""Of event time: a decision is held for 15 s, so 30,000 are at a time."""
WINDOW, GRACE = "10s", "5s"
AHEAD = 100_000
"""Events that are produced and not read yet, at most: more than a worker reads between two looks."""
CHUNK = 5_000
LOOK_EVERY_S = 2.0
DRAINED_WITHIN_S = 120.0
TOMBSTONES_KEPT_MS = 120_000
"""As the windows here are seconds instead of days, so are the two hours of a deployment minutes: what is level after
many windows and many of these is level."""
MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Look:
    """What the worker takes at one moment."""

    seconds: float
    events: int
    """Read by JOIN, and durable."""
    open_rows: int
    """Decisions whose window has not closed."""
    rss_mib: float
    rocksdb_mib: float
    changelog_mib: float
    """Of JOIN and LEARN together, on the broker's disk."""


def run(events: int, minutes: float, out: Path) -> str:
    """Play a soak on a fresh local Kafka; write `soak.json`, `soak.md` and `soak.png`, and return the Markdown."""
    decisions = round(events / (1 + OUTCOME_SHARE))
    lead_ms = decisions // DECISIONS_PER_MS + 60_000
    load = Load(decisions, 0, "avro", seed=0, per_ms=DECISIONS_PER_MS, lead_ms=lead_ms)
    kafka = LocalKafka.start(default_cache_dir(), fresh=True)
    try:
        with tempfile.TemporaryDirectory() as state:
            looks = asyncio.run(_Soak(kafka, load, Path(state)).play(minutes * 60))
    finally:
        kafka.stop()
    out.mkdir(parents=True, exist_ok=True)
    (out / "soak.json").write_bytes(orjson.dumps([asdict(look) for look in looks], option=orjson.OPT_INDENT_2))
    text = table(looks)
    (out / "soak.md").write_text(text, encoding="utf-8")
    picture(looks, out / "soak.png")
    return text


class _Soak:
    """One run."""

    def __init__(self, kafka: LocalKafka, load: Load, state: Path) -> None:
        self._kafka = kafka
        self._load = load
        self._state = state
        self._broker = kafka.bootstrap_servers
        self._changelogs = [changelog_topic(APP_ID, name) for name in (JOIN_TABLE, LEARN_TABLE)]
        self._looks: list[Look] = []
        self._sent = 0

    async def play(self, seconds: float) -> list[Look]:
        """Produce what there is or the time allows, then wait until all of it is in a snapshot."""
        await create_topics(self._broker, _specs())
        await apply_policy(self._broker, policy(0, window=WINDOW, grace=GRACE), Operator("benchmarks", "policy apply"))
        follower, producer = (
            TopicFollower(self._broker, SNAPSHOTS),
            AIOKafkaProducer(bootstrap_servers=self._broker, linger_ms=50, max_batch_size=1 << 18),
        )
        self._consumer = AIOKafkaConsumer(bootstrap_servers=self._broker, group_id=None, enable_auto_commit=False)
        await asyncio.gather(follower.start(), producer.start(), self._consumer.start())
        self._consumer.assign([TopicPartition(self._changelogs[0], number) for number in range(PARTITIONS)])
        with (self._state / "worker.log").open("wb") as log:
            self._worker = subprocess.Popen(  # noqa: ASYNC220, S603  our own command
                [
                    *(sys.executable, "-m", "pipeline", "worker", "--broker", self._broker, "--log-level", "WARNING"),
                    *("--state-dir", str(self._state / "tables"), "--partitions", str(PARTITIONS)),
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
            )
            try:
                self._began_s = time.monotonic()
                await self._produce(producer, seconds)
                await self._drain(follower)
            finally:
                self._worker.terminate()
                self._worker.wait(60)
                await asyncio.gather(follower.stop(), producer.stop(), self._consumer.stop())
        return self._looks

    async def _produce(self, producer: AIOKafkaProducer, seconds: float) -> None:
        records, looked_s = self._load.records(), 0.0
        while time.monotonic() - self._began_s < seconds:
            if time.monotonic() - looked_s > LOOK_EVERY_S:
                looked_s = time.monotonic()
                await self._look()
            if self._sent - (self._looks[-1].events if self._looks else 0) > AHEAD:
                await asyncio.sleep(LOOK_EVERY_S / 10)
                continue
            chunk = list(islice(records, CHUNK))
            for record in chunk:
                await producer.send(record.topic, record.value, key=record.key)
            self._sent += len(chunk)
            if len(chunk) < CHUNK:
                break
        await producer.flush()

    async def _drain(self, follower: TopicFollower) -> None:
        deadline_s = time.monotonic() + DRAINED_WITHIN_S
        last: dict[str, object] = {}
        while time.monotonic() < deadline_s:
            await self._look()
            await asyncio.sleep(LOOK_EVERY_S / 2)
            for record in await follower.poll():
                (last,) = avro.decode_as("snapshot", record.value)["segments"]
            if last and is_complete(last, self._load):
                await self._look()
                return
        raise SystemExit(f"not complete {DRAINED_WITHIN_S:.0f} s after the last of {self._sent} events: {last}")

    async def _look(self) -> None:
        if self._worker.poll() is not None:
            log = (self._state / "worker.log").read_text("utf-8", "replace")
            raise SystemExit(f"the worker ended with {self._worker.returncode}\n{log[-2_000:]}")
        progress = await self._progress()
        counts = [one.counts for one in progress]
        for one in counts:
            for stream in (DECISIONS, OUTCOMES):
                if imbalance(one, stream):
                    raise SystemExit(f"law 5 does not hold: {one}")
        self._looks.append(
            Look(
                round(time.monotonic() - self._began_s, 3),
                sum(sum(one.positions.values()) for one in progress),
                sum(one["decisions.open"] for one in counts),
                rss_mib(self._worker.pid),
                _size_mib((self._state / "tables").rglob("*")),
                _size_mib(
                    log for topic in self._changelogs for log in self._kafka.data_folder.glob(f"{topic}-*/*.log")
                ),
            )
        )

    async def _progress(self) -> list[Progress]:
        """Read the last record of each partition of JOIN's changelog: a step ends with its progress."""
        found: dict[int, Progress] = {}
        ends = await self._consumer.end_offsets(self._consumer.assignment())
        waiting = {partition for partition, end in ends.items() if end}
        for partition in waiting:
            self._consumer.seek(partition, ends[partition] - 1)
        while waiting:
            for partition, records in (await self._consumer.getmany(*waiting, timeout_ms=200)).items():
                waiting.discard(partition)
                if records and records[-1].key == PROGRESS:
                    found[partition.partition] = progress_from_bytes(records[-1].value)
        return list(found.values())


def _specs() -> list[TopicSpec]:
    """Return a deployment's topics, whose changelogs let go of tombstones sooner."""
    kept = {"delete.retention.ms": str(TOMBSTONES_KEPT_MS)}
    return [
        spec._replace(config={**spec.config, **kept}) if spec.config.keys() >= kept.keys() else spec
        for spec in topic_specs(APP_ID, PARTITIONS)
    ]


def _size_mib(files: Iterator[Path]) -> float:
    size = 0
    for file in files:
        try:
            size += file.stat().st_size if file.is_file() else 0
        except FileNotFoundError:  # compacted away meanwhile
            continue
    return size / MIB
