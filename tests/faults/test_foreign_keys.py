"""Scenario 13: producers with partitioners, keys and clocks of their own.

librdkafka as it comes (crc32 of the key, sticky without one), keys that are not the action, and a client whose clock
is far ahead. What honest clients did must count as if they had been alone.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import orjson
from confluent_kafka import Producer

from pipeline.codec import avro
from pipeline.stream.log.topics import DEAD_LETTERS, DECISIONS, OUTCOMES, REWARDS
from tests.faults.trial import Trial
from tests.naive.fold import naive_ledger
from tests.samples import define, plain_decision, plain_outcome, plain_policy

AHEAD_MS = 299_000
"""Of the client whose clock is wrong: as far as a record is taken."""
WITHIN_S = 90.0


async def test_foreign_partitioners_keys_and_clocks(trial: Trial) -> None:
    policy = plain_policy(settle="wait", grace="2s", publish={"interval": "100ms"})
    policy["reward"]["outcomes"] = [{"kind": "click", "worth": 1.0, "window": "2s"}]
    await trial.client.apply(define(policy))
    honest: tuple[list[Any], list[Any]] = [], []
    with trial.supervised(idle_after="1") as worker:
        trial.client.watch(worker)
        producer = Producer({"bootstrap.servers": trial.client.broker, "log_level": 0})
        for turn in range(8):
            # Whoever is fast comes first: what it says is read before the others'.
            await asyncio.to_thread(play_fast, producer, turn)
            decisions, outcomes = await asyncio.to_thread(play, producer, turn, trial.form.actions // 8)
            honest[0].extend(decisions)
            honest[1].extend(outcomes)
            trial.injected()
        expected = naive_ledger(policy, *honest)

        async def all_have_settled() -> bool:
            return {name for name, row in (await ledger(trial)).items() if row["is_settled"]} >= expected.keys()

        await trial.client.until(all_have_settled, what="honest decisions to settle", within_s=WITHIN_S)
        found = {name: row for name, row in (await ledger(trial)).items() if name in expected}
        assert {name: (row["reward"], ids_of(row)) for name, row in found.items()} == {
            name: (entry.reward, entry.outcomes) for name, entry in expected.items()
        }
        letters = [avro.decode(record.value) for record in await trial.client.read(DEAD_LETTERS)]
        # What nobody waits for may have waited its hour by a clock that is wrong; nothing of the honest is refused.
        told = {orjson.loads(fields["raw"])["action_id"] for name, fields in letters if name == "dead_letter"}
        assert told.isdisjoint(expected)
        assert worker.ends == []


def play(producer: Producer, turn: int, actions: int) -> tuple[list[Any], list[Any]]:
    """Decide, click half of it, twice, under keys of every kind; return what was told."""
    at_ms = round(time.time() * 1000)
    decisions = [plain_decision(f"act-{turn}-{number}", at_ms) for number in range(actions)]
    outcomes = [
        plain_outcome(one["action_id"], at_ms, f"o-{one['action_id']}") for one in decisions if hash_of(one) % 2
    ]
    for number, one in enumerate(decisions):
        producer.produce(DECISIONS, orjson.dumps(one), key_for(one, number))
    for number, one in enumerate([*outcomes, *outcomes]):
        producer.produce(OUTCOMES, orjson.dumps(one), key_for(one, number))
    assert producer.flush(30) == 0
    return decisions, outcomes


def key_for(record: dict[str, Any], number: int) -> bytes | None:
    """Give the action, nothing, emptiness or something else."""
    return (record["action_id"].encode(), None, b"", b"user-%d" % number)[number % 4]


def hash_of(decision: dict[str, Any]) -> int:
    """Tell decisions apart, the same in every run."""
    return sum(decision["action_id"].encode())


def play_fast(producer: Producer, turn: int) -> None:
    """Decide and click by a clock that is far ahead, and tell outcomes of nobody in every partition."""
    at_ms = round(time.time() * 1000) + AHEAD_MS
    for number in range(16):
        name = f"fast-{turn}-{number}"
        for topic, record in (
            (DECISIONS, plain_decision(name, at_ms)),
            (OUTCOMES, plain_outcome(name, at_ms, f"o-{name}")),
            (OUTCOMES, plain_outcome(f"nobody-{turn}-{number}", at_ms, f"n-{name}")),
        ):
            producer.produce(topic, orjson.dumps(record), name.encode())
    assert producer.flush(30) == 0


async def ledger(trial: Trial) -> dict[str, dict[str, Any]]:
    """Give each action's ledger record of the highest revision; none may stand in two partitions."""
    latest: dict[str, dict[str, Any]] = {}
    where: dict[str, int] = {}
    for record in await trial.client.read(REWARDS):
        row = avro.decode_as("reward", record.value)
        name = row["action_id"]
        assert where.setdefault(name, record.partition) == record.partition
        if row["revision"] >= latest.get(name, row)["revision"]:
            latest[name] = row
    return latest


def ids_of(row: dict[str, Any]) -> frozenset[str]:
    """Give the ids of what is credited."""
    return frozenset(outcome["outcome_id"] for outcome in row["outcomes"])
