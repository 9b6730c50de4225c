"""`pipeline advise` reads what was published, and its exit code is the answer."""

from __future__ import annotations

import asyncio

import numpy as np
import orjson
from click.testing import CliRunner, Result

from pipeline.brokers import Broker
from pipeline.cli import cli
from pipeline.learn.memory import RowKey
from pipeline.models.sums.statistics import Statistics
from pipeline.publish.partials import Mark
from pipeline.publish.snapshot import build_snapshot
from pipeline.stream.log.outbox import Outbox, Record
from pipeline.stream.log.topics import SNAPSHOT_HISTORY, SNAPSHOTS, partition_for
from tests.samples import define, plain_policy

ONE = 2**15
HOUR_MS = 3_600_000


async def publish(broker: str, policy: str, version: int, at_ms: int, clicks: dict[str, tuple[int, int]]) -> None:
    definition = define(plain_policy(name=policy))
    rows = [
        (RowKey(policy, 1, "other", arm, 0), Statistics(0, np.array([n, r * ONE, r * ONE * ONE], np.int64)))
        for arm, (r, n) in clicks.items()
    ]
    content = build_snapshot(definition, rows, {0: Mark(version, at_ms)}, version, "")
    outbox = Outbox(broker)
    await outbox.start()
    try:
        for topic in (SNAPSHOT_HISTORY, SNAPSHOTS):
            partition = partition_for(policy, await outbox.partition_count(topic))
            await outbox.deliver([Record(topic, partition, policy.encode(), content)])
    finally:
        await outbox.stop()


def advise(broker: str, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["advise", *arguments, "--broker", broker])


def test_a_policy_that_is_not_clear_yet_is_told_how_long_it_takes(embedded: Broker) -> None:
    broker = embedded.bootstrap_servers
    asyncio.run(publish(broker, "unclear", 1, HOUR_MS, {"a": (10, 100), "b": (10, 100)}))
    asyncio.run(publish(broker, "unclear", 2, 3 * HOUR_MS, {"a": (30, 330), "b": (36, 346)}))
    found = advise(broker, "unclear", "--json")
    assert found.exit_code == 1, found.output
    (segment,) = orjson.loads(found.stdout_bytes)["segments"]
    assert (segment["leader"], segment["may_stop"], segment["by"]) == ("b", False, "decision")
    # 676 - 200 decisions came in two hours.
    assert abs(segment["time_needed_ms"] - segment["decisions_needed"] * 2 * HOUR_MS / 476) <= 1
    words = advise(broker, "unclear").output
    assert f"other: go on: b leads; about {segment['decisions_needed']:,} decisions more" in words
    assert "  by decision: statistics know nobody." in words


def test_a_policy_with_a_clear_winner_may_stop(embedded: Broker) -> None:
    broker = embedded.bootstrap_servers
    asyncio.run(publish(broker, "clear", 1, HOUR_MS, {"a": (900, 10_000), "b": (100, 10_000)}))
    found = advise(broker, "clear")
    assert found.exit_code == 0, found.output
    assert "other: choose a: it is the best" in found.output


def test_a_traffic_that_is_no_duration_is_wrong_usage(embedded: Broker) -> None:
    found = advise(embedded.bootstrap_servers, "clear", "--traffic-of", "soon")
    assert found.exit_code == 2
    assert "expected a whole number and a unit" in found.output
