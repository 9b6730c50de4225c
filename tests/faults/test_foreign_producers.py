"""Scenario 11: producers of another make, whose transactions commit, abort and stay open; a log with holes in it.

What is right is what a read-committed reader sees, folded naively. Every window closes, also where the last thing in a
log is no record.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from confluent_kafka import OFFSET_END, KafkaError, TopicPartition
from confluent_kafka.admin import AdminClient

from pipeline.codec import avro
from pipeline.stream.log.topics import DECISIONS, OUTCOMES, REWARDS
from tests.faults.trial import Trial
from tests.harness.client import partition_of
from tests.harness.known import Traffic, now
from tests.harness.transactions import Sent, Sinks, Transactional, sent
from tests.naive.fold import naive_fold
from tests.samples import define, plain_decision, plain_outcome, plain_policy

SHARE = 50
"""Chunks of the stream."""
SHORT, LONG = 250, 4_000
"""Decisions of each policy; a transaction takes two round trips."""
Fields = dict[str, Any]
SOME = 8
"""Records; two in each partition, about."""
WITHIN_S = 30.0
HELD_S = 5.0
"""Above what a decision is held for behind the last one: window, grace, and a tick."""


async def test_transactions_that_commit_abort_and_stay_open_around_a_crash(trial: Trial) -> None:
    """
    committed   ├┤├─┤├┤ ├──┤├┤   ├┤├──┤
    aborted       ├─┤      ├┤
    open           ├───────────────┤       what stands behind it is not read before
    worker      ├──────────┤ killed ├──────────
    """
    streams = trial.streams(LONG if trial.form.is_long else SHORT)
    sinks = await asyncio.to_thread(Sinks, trial.client.broker, trial.rng)
    trial.client.through(sinks)
    async with trial.flow(*streams) as flow:
        with trial.supervised(alone=True) as worker:
            trial.client.watch(worker)
            await flow.send(SHARE)
            await trial.moment()
            await asyncio.to_thread(worker.worker.kill)
            trial.injected()
            await flow.send(SHARE)
            await asyncio.to_thread(sinks.finish)
            await flow.send_rest()
            trial.injected(sinks.aborted)
            await trial.settle(*streams)


class OneByOne:
    """A sink that makes a transaction of each record, and keeps what should come of them."""

    def __init__(self, broker: str, partitions: int) -> None:
        self._sink = Transactional(broker, "one-by-one")
        self._admin = AdminClient({"bootstrap.servers": broker})
        self._partitions = partitions
        self.decisions: list[Fields] = []
        self.outcomes: list[Fields] = []

    def decide(self) -> list[Fields]:
        """Commit some decisions."""
        first = len(self.decisions)
        made = [plain_decision(f"silent-{n}", now()) for n in range(first, first + SOME)]
        self.commit(DECISIONS, made)
        self.decisions += made
        return made

    def click(self, decisions: list[Fields]) -> None:
        """Commit a click on each."""
        made = clicks(decisions, "click")
        self.commit(OUTCOMES, made)
        self.outcomes += made

    def commit(self, topic: str, records: list[Fields]) -> None:
        for record in records:
            self._sink.begin([self._placed(topic, record)])
            self._sink.commit()

    def abort(self, topic: str, records: list[Fields]) -> None:
        self._sink.begin([self._placed(topic, record) for record in records])
        self._sink.abort()

    def remove(self, topic: str) -> None:
        """Remove all that a topic holds, as retention does."""
        left = [TopicPartition(topic, number, OFFSET_END) for number in range(self._partitions)]
        deadline_s = time.monotonic() + WITHIN_S
        while left:
            told = self._admin.delete_records(left)
            failed = {place: error for place, future in told.items() if (error := future.exception(WITHIN_S))}
            # A broker that is busy may have told the client of a leader that does not know it yet.
            seen = {error.args[0].code() for error in failed.values()}
            assert seen <= {KafkaError.NOT_LEADER_FOR_PARTITION}, failed
            assert not failed or time.monotonic() < deadline_s, failed
            left = list(failed)

    def before_anybody_reads(self) -> None:
        self.commit(DECISIONS, [plain_decision(f"gone-{n}", now()) for n in range(SOME)])
        self.remove(DECISIONS)

    def while_somebody_reads(self) -> None:
        self.abort(OUTCOMES, clicks(self.decide(), "never"))

    def while_nobody_reads(self) -> None:
        self.commit(OUTCOMES, clicks(self.decisions, "lost"))
        self.remove(OUTCOMES)
        self.click(self.decisions[::2])
        self.click(self.decide())
        self.abort(DECISIONS, [plain_decision(f"never-{n}", now()) for n in range(SOME)])

    def _placed(self, topic: str, record: Fields) -> Sent:
        return sent(topic, partition_of(record["action_id"], self._partitions), record)


def clicks(decisions: list[Fields], name: str) -> list[Fields]:
    return [
        plain_outcome(one["action_id"], one["decided_at_ms"] + 1, f"{name}-{one['action_id']}") for one in decisions
    ]


async def test_windows_close_behind_markers_and_holes_when_nobody_sends_any_more(trial: Trial) -> None:
    """
    decisions   · · · · │ r C r C r C … │          │ r C … x x A │ silence     · removed, x aborted,
    outcomes            │ x x x A       │  ·  ·  · │ r C r C …   │ silence     C and A markers
    worker      none    ├─── reads ─────┤ none                   ├──────────
    """
    policy = plain_policy(settle="wait", grace="2s", publish={"interval": "100ms"})
    policy["reward"]["outcomes"] = [{"kind": "click", "worth": 1.0, "window": "2s"}]
    await trial.client.apply(define(policy))
    sink = await asyncio.to_thread(OneByOne, trial.client.broker, trial.client.partitions)

    async def all_are_settled() -> bool:
        records = [avro.decode_as("reward", record.value) for record in await trial.client.read(REWARDS)]
        return {r["action_id"] for r in records if r["is_settled"]} >= {one["action_id"] for one in sink.decisions}

    await asyncio.to_thread(sink.before_anybody_reads)
    with trial.worker() as worker:  # without ticks
        trial.client.watch(worker)
        await asyncio.to_thread(sink.while_somebody_reads)
        await trial.client.quiet()
        trial.client.watch()
        await asyncio.to_thread(worker.stop)
    await asyncio.to_thread(sink.while_nobody_reads)
    trial.injected(4)
    with trial.worker(idle_after="1") as worker:
        trial.client.watch(worker)
        await trial.client.until(all_are_settled, what="all decisions to settle")
        # As long as a row is held, the worker writes ticks for it, and what is counted would not stand still.
        await trial.client.still(DECISIONS, for_s=HELD_S)
        naive = naive_fold(policy, sink.decisions, sink.outcomes)
        sure = [[(0, one) for one in records] for records in (sink.decisions, sink.outcomes)]
        await trial.settle(Traffic(policy, *sure, naive, 0))
        assert "offsets-gone topic=outcomes" in worker.log.read_text("utf-8")
