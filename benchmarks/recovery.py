"""Measure recovery: a table rebuilt from its changelog, and a killed worker's first snapshot after it.

The rebuilt table must hold every row that was written; the snapshot after the kill must have the load's sums.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import rocksdict
from aiokafka import AIOKafkaConsumer, TopicPartition

from benchmarks.load import Load, policy
from benchmarks.report import Row
from benchmarks.worker import PARTITIONS, is_complete, produce
from pipeline.audit.record import Operator
from pipeline.brokers import default_cache_dir, running_broker
from pipeline.cli.control import apply_policy
from pipeline.codec import avro
from pipeline.join.stored_row import due_of
from pipeline.stream.failpoints import pass_by
from pipeline.stream.log.follow import TopicFollower
from pipeline.stream.log.outbox import Outbox
from pipeline.stream.log.topics import JOIN_TABLE, SNAPSHOTS, TopicSpec, changelog_topic, create_topics, topic_specs
from pipeline.stream.state.changelog import FETCH_BYTES
from pipeline.stream.state.restore import Opener
from pipeline.stream.state.tables import ROW

APP_ID = "pipeline"
ROW_BYTES = 350
"""Of a row of JOIN: a decision with 16 features."""
BATCH_ROWS = 2_000
DEADLINE_S = 300.0


def measure(rows: int, open_actions: int, repetitions: int) -> list[Row]:
    """Rebuild a table of `rows`, and kill a worker with `open_actions` open, on a fresh local Kafka each time."""
    rebuilt = [_on_kafka(lambda broker: _rebuild(broker, rows)) for _ in range(repetitions)]
    killed = [
        _on_kafka(lambda broker, seed=seed: _kill(broker, Load(open_actions, 16, "json", seed)))
        for seed in range(repetitions)
    ]
    return [
        Row(f"recovery, {rows} rows rebuilt from the changelog", "rows/s", tuple(run[0] for run in rebuilt)),
        Row(f"recovery, {rows} rows only read from the broker", "rows/s", tuple(run[1] for run in rebuilt)),
        Row(f"recovery, kill -9 at {open_actions} open: next snapshot", "s", tuple(run[0] for run in killed)),
        Row("recovery, the same and the disk lost: next snapshot", "s", tuple(run[1] for run in killed)),
    ]


def _on_kafka(play: Any) -> tuple[float, float]:
    with running_broker("kafka", cache_dir=default_cache_dir(), fresh=True) as broker:
        figures: tuple[float, float] = asyncio.run(play(broker.bootstrap_servers))
        return figures


async def _rebuild(broker: str, rows: int) -> tuple[float, float]:
    changelog = changelog_topic(APP_ID, JOIN_TABLE)
    specs = {spec.name: spec for spec in topic_specs(APP_ID, 1)}
    await create_topics(broker, [TopicSpec(changelog, 1, specs[changelog].config)])
    rest = os.urandom(ROW_BYTES - 9)
    outbox = Outbox(broker)
    await outbox.start()
    for first in range(0, rows, BATCH_ROWS):
        some = range(first, min(rows, first + BATCH_ROWS))
        await outbox.deliver_atomically(changelog, 0, {_key(i): b"\x01" + i.to_bytes(8, "little") + rest for i in some})
    await outbox.stop()
    with tempfile.TemporaryDirectory() as folder:
        table: Any = SimpleNamespace(name=JOIN_TABLE, changelog=changelog, path=lambda _: Path(folder) / "join-0.db")
        opener = Opener(
            table,
            broker,
            app_id=APP_ID,
            cache=rocksdict.Cache(128 << 20),
            index=due_of,
            reach=pass_by,
        )
        started_s = time.monotonic()
        partition = await opener.open(0)
        rebuilt_s = time.monotonic() - started_s
        if sum(1 for _ in partition.rows.scan(ROW)) != rows or len(partition.rows.due(rows, rows)) != rows:
            raise SystemExit("rows are missing")
        await partition.close()
    return rows / rebuilt_s, rows / await _read(broker, changelog, rows)


def _key(number: int) -> bytes:
    """Return a row's key: names of actions come in no order, times at which rows fall due do."""
    return ROW + b"%016x" % (number * 0x9E3779B97F4A7C15 % 2**64)


async def _read(broker: str, topic: str, rows: int) -> float:
    """Return the seconds that reading alone takes."""
    consumer = AIOKafkaConsumer(bootstrap_servers=broker, max_partition_fetch_bytes=FETCH_BYTES, check_crcs=False)
    await consumer.start()
    partition = TopicPartition(topic, 0)
    consumer.assign([partition])
    await consumer.seek_to_beginning(partition)
    started_s, seen = time.monotonic(), 0
    while seen < rows:
        for records in (await consumer.getmany(timeout_ms=500)).values():
            seen += len(records)
    await consumer.stop()
    return time.monotonic() - started_s


async def _kill(broker: str, load: Load) -> tuple[float, float]:
    await create_topics(broker, topic_specs(APP_ID, PARTITIONS))
    await apply_policy(broker, policy(16), Operator("benchmarks", "policy apply"))
    await produce(broker, load)
    follower = TopicFollower(broker, SNAPSHOTS)
    await follower.start()
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder) / "tables"
        worker = _worker(broker, state)
        try:
            version = await _complete_after(follower, load, 0)
            times_s = []
            for is_disk_lost in (False, True):
                worker.kill()
                worker.wait()
                killed_s = time.monotonic()
                if is_disk_lost:
                    shutil.rmtree(state)
                worker = _worker(broker, state)
                version = await _complete_after(follower, load, version)
                times_s.append(time.monotonic() - killed_s)
        finally:
            worker.kill()
            worker.wait()
            await follower.stop()
    return times_s[0], times_s[1]


def _worker(broker: str, state: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603  our own command
        [
            *(sys.executable, "-m", "pipeline", "worker", "--broker", broker),
            *("--state-dir", str(state), "--partitions", str(PARTITIONS), "--log-level", "WARNING"),
        ]
    )


async def _complete_after(follower: TopicFollower, load: Load, version: int) -> int:
    """Wait for a snapshot above `version` with all of the load; return its version."""
    deadline_s = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline_s:
        for record in await follower.poll():
            snapshot = avro.decode_as("snapshot", record.value)
            (segment,) = snapshot["segments"]
            if snapshot["version"] > version and is_complete(segment, load):
                return int(snapshot["version"])
    raise SystemExit("no complete snapshot in time")
