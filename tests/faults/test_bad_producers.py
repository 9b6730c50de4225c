"""Scenario 8: producers that send nonsense, everything three times, hours early and weeks late, by clocks that differ.

And a partition in which nothing happens beside a busy one: its windows must close all the same.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from typing import Any

import orjson

from pipeline.codec import avro
from pipeline.stream.log.topics import DECISIONS, OUTCOMES, REWARDS
from tests.faults.trial import Trial
from tests.harness.client import partition_of
from tests.harness.flow import Raw
from tests.harness.known import Manner, Traffic, chunks, far_apart, homepage, linear, now
from tests.harness.poison import ALONE
from tests.naive.fold import naive_fold
from tests.samples import define, plain_decision, plain_policy

HELD_S = 5.0
"""Above what a decision is held for behind the last one: window, grace, and a tick."""

ONE_IN = 100
SKEWS_MS = (0, -20_000, 15_000, 60_000)
PATIENT_CHUNKS = 60
"""The decisions of 50 days ago are read by then, and their outcomes yet to come."""
PATIENT_SHARE = 5
"""Of the decisions, one in so many is of 50 days ago."""


async def test_poison_and_repeats_and_clocks_that_differ(trial: Trial) -> None:
    manner = Manner(copies=3, skews_ms=SKEWS_MS)
    # One moment for all of them, however long making them takes.
    now_ms = now()
    streams = (
        # Grace for the slowest clock beside the fastest.
        homepage(trial.seed, trial.form.actions, manner, now_ms, grace="3m"),
        linear(trial.seed + 1_000, trial.form.actions, manner, now_ms, grace="3m"),
        far_apart(trial.seed, trial.form.actions // PATIENT_SHARE, now_ms),
    )
    among, refused = poison(trial, streams)
    async with trial.flow(*streams, among=among) as flow:
        with trial.supervised() as worker:
            trial.client.watch(worker)
            await flow.send(PATIENT_CHUNKS)
            await trial.client.quiet()
            await flow.send_rest()
            trial.injected(refused.total())
            await trial.settle(*streams, refused=refused)
            assert worker.ends == []


def poison(trial: Trial, streams: tuple[Traffic, ...]) -> tuple[dict[int, list[Raw]], Counter[str]]:
    """Make one bad record for each hundred good ones, at least one of each kind; tell what becomes of them."""
    cut = chunks(streams)
    events = sum(len(decisions) + len(outcomes) for decisions, outcomes in cut)
    kinds = list(ALONE.values())
    among: defaultdict[int, list[Raw]] = defaultdict(list)
    refused: Counter[str] = Counter()
    for number in range(max(len(kinds), events // ONE_IN)):
        topic, reason, value = kinds[number % len(kinds)]()
        among[trial.rng.randrange(len(cut))].append(Raw(topic, trial.rng.randrange(trial.client.partitions), value))
        refused[reason] += 1
    for topic, reason, value in spoilt(streams[0], trial.client.partitions):
        among[len(cut) - 1].append(Raw(topic, *value))
        refused[reason] += 1
    return dict(among), refused


def spoilt(stream: Traffic, partitions: int) -> list[tuple[str, str, tuple[int, bytes]]]:
    """Make bad records that are told from good ones only beside others of their action, sent when those are there."""
    last = stream.decisions[-1][1]
    partition = partition_of(last["action_id"], partitions)
    other_arm = last | {"arm": "ab"[last["arm"] == "a"]}
    applause = {
        "outcome_id": "applause",
        "action_id": last["action_id"],
        "kind": "applause",
        "occurred_at_ms": last["decided_at_ms"],
    }
    return [
        (DECISIONS, "conflicting-duplicate", (partition, orjson.dumps(other_arm))),
        (OUTCOMES, "unknown-outcome-kind", (partition, orjson.dumps(applause))),
    ]


async def test_windows_of_an_idle_partition_close_beside_a_busy_one(trial: Trial) -> None:
    """
    partition 0   ├─ a few decisions ─┤ nothing more; settled all the same
    partition 1   ├─ decisions, one after the other ──────────────────────
    """
    policy = plain_policy(settle="wait", grace="2s", publish={"interval": "100ms"})
    policy["reward"]["outcomes"] = [{"kind": "click", "worth": 1.0, "window": "2s"}]
    sent: list[dict[str, Any]] = []
    empty = Traffic(policy, [], [], naive_fold(policy, [], []), 0)

    async def decide_in(partition: int) -> None:
        sent.append(plain_decision(name_in(partition, len(sent), trial.client.partitions), round(time.time() * 1000)))
        await trial.client.decide([sent[-1]])

    async def idle_are_settled() -> bool:
        await decide_in(1)
        records = [avro.decode_as("reward", record.value) for record in await trial.client.read(REWARDS)]
        return {record["action_id"] for record in records if record["is_settled"]} >= idle

    await trial.client.apply(define(policy))
    with trial.supervised(idle_after="1") as worker:
        trial.client.watch(worker)
        for _ in range(5):
            await decide_in(0)
        trial.injected()
        idle = {record["action_id"] for record in sent}
        await trial.client.until(idle_are_settled, what="the idle partition's decisions to settle")
        stream = empty._replace(decisions=[(0, record) for record in sent], naive=naive_fold(policy, sent, []))

        async def all_are_settled() -> bool:
            records = [avro.decode_as("reward", record.value) for record in await trial.client.read(REWARDS)]
            return len({record["action_id"] for record in records}) == len(sent)

        await trial.client.until(all_are_settled, what="all decisions to settle")
        # As long as a row is held, the worker writes ticks for it, and what is counted would not stand still.
        await trial.client.still(DECISIONS, for_s=HELD_S)
        await trial.settle(stream)


def name_in(partition: int, number: int, partitions: int) -> str:
    """Find a name that stands in a partition."""
    names = (f"idle-{number}-{turn}" for turn in range(10_000))
    return next(name for name in names if partition_of(name, partitions) == partition)
