"""`pipeline advise` reads what was published, and its exit code is the answer."""

from __future__ import annotations

import asyncio

import numpy as np
import orjson
from click.testing import CliRunner, Result

from pipeline.brokers import Broker
from pipeline.cli import cli
from pipeline.codec import avro
from pipeline.learn.memory import RowKey
from pipeline.models.sums.statistics import Statistics
from pipeline.publish.partials import Mark
from pipeline.publish.snapshot import build_snapshot
from pipeline.stream.log.outbox import Outbox, Record
from pipeline.stream.log.topics import DECISIONS, REWARDS, SNAPSHOT_HISTORY, SNAPSHOTS, partition_for
from tests.samples import define, plain_decision, plain_policy

ONE = 2**15
HOUR_MS = 3_600_000


async def visit(broker: str, policy: str, clicks: dict[str, tuple[int, int]], people: int) -> None:
    """Tell the ledger of them, and `decisions` whom they were of: people in turn, the first ones click each time."""
    attribution = define(plain_policy(name=policy)).statistics_hash
    shown, told = [], []
    for arm, (won, n) in clicks.items():
        for place in range(n):
            action = f"{policy}-{arm}-{place}"
            decision = plain_decision(action, place, policy=policy, arm=arm)
            known = orjson.dumps(decision | {"subject_hash": f"s{place % people}"})
            shown.append(Record(DECISIONS, place % 4, action.encode(), known))
            fields = {
                "action_id": action,
                "revision": 2,
                "is_settled": True,
                "policy": policy,
                "generation": 1,
                "segment": "other",
                "arm": arm,
                "reward": ONE if (place % people) < won * people // n else 0,
                "reward_exponent": 15,
                "context_vector": b"",
                "decided_at_ms": place,
                "bucket": 0,
                "expires_at_ms": 60_000,
                "event_time_ms": 10_000,
                "attribution": attribution,
                "outcomes": [],
                "decision": orjson.dumps(decision),
                "is_erased": False,
                "is_reward_final": False,
            }
            told.append(Record(REWARDS, 0, action.encode(), avro.encode("reward", fields)))
    outbox = Outbox(broker)
    await outbox.start()
    try:
        await outbox.deliver(told)
        await outbox.deliver(shown)
    finally:
        await outbox.stop()


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
    assert "  by decision: nobody is known." in words


def test_a_policy_with_a_clear_winner_may_stop(embedded: Broker) -> None:
    broker = embedded.bootstrap_servers
    asyncio.run(publish(broker, "clear", 1, HOUR_MS, {"a": (900, 10_000), "b": (100, 10_000)}))
    found = advise(broker, "clear")
    assert found.exit_code == 0, found.output
    assert "other: choose a: it is the best" in found.output


def test_few_people_who_come_often_are_few(embedded: Broker) -> None:
    broker = embedded.bootstrap_servers
    # Of ten people who came sixty times to each arm three always take a, and of the same ten two always take b.
    clicks = {"a": (180, 600), "b": (120, 600)}
    asyncio.run(publish(broker, "regulars", 1, HOUR_MS, clicks))
    assert advise(broker, "regulars").exit_code == 0  # as if 1,200 had come
    asyncio.run(visit(broker, "regulars", clicks, 10))
    found = advise(broker, "regulars", "--json")
    assert found.exit_code == 1, found.output
    (segment,) = orjson.loads(found.stdout_bytes)["segments"]
    assert (segment["by"], segment["subjects"], segment["without_subject"]) == ("subject", 10, 0)
    # What differs goes by the third person alone, with 60 decisions of each arm.
    assert segment["design_effect"] > 20
    assert "  by subject: 10 of them, and " in advise(broker, "regulars").output


def test_a_traffic_that_is_no_duration_is_wrong_usage(embedded: Broker) -> None:
    found = advise(embedded.bootstrap_servers, "clear", "--traffic-of", "soon")
    assert found.exit_code == 2
    assert "expected a whole number and a unit" in found.output
