from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from pipeline.codec import avro
from pipeline.errors import StateError
from pipeline.learn.agent import LearnAgent
from pipeline.learn.memory import expires_of, fold_state_from_bytes
from pipeline.learn.owed import OWED, PAYMENT_BYTES
from pipeline.stream.log import topics
from pipeline.stream.log.fetch import Batch
from pipeline.stream.state.tables import PROGRESS
from tests.doubles import MemoryBroker, MemoryTable
from tests.unit.learn.test_learn_agent import reward

PARTITION = 2
STUCK, OTHER = "homepage", "newsletter"
"""Policies whose statistics lie in different partitions."""


class Bench:
    """LEARN on one partition of the ledger, before a broker one of whose partitions takes nothing."""

    def __init__(self) -> None:
        self.broker = MemoryBroker()
        self.table = MemoryTable(self.broker, "changelog", expires_of)
        self.length = 0
        self.start()

    def start(self) -> None:
        self.agent = LearnAgent(self.table, self.broker, patience_s=0.0)

    def stick(self) -> None:
        self.broker.stuck = {(topics.STATISTICS, topics.partition_for(STUCK, 4))}

    def take_again(self) -> None:
        self.broker.stuck = set()
        self.broker.take()

    async def fold(self, *values: bytes) -> None:
        records = [SimpleNamespace(offset=self.length + i, value=value) for i, value in enumerate(values)]
        self.length += len(values)
        await self.agent.handle(Batch(topics.REWARDS, PARTITION, records[0].offset, records, self.length))

    async def pay(self) -> None:
        """Pay until nothing is owed, or a partition takes nothing."""
        await self.agent.open(PARTITION)
        for _ in range(9):
            await self.agent.pay(PARTITION)

    def emitted(self, policy: str) -> list[tuple[str, int, int]]:
        """What was told of a policy: kind of record, ledger offset, and n of a row."""
        log = self.broker.logs[topics.STATISTICS, topics.partition_for(policy, 4)]
        told = [avro.decode(record.value) for record in log]
        return [
            (name, fields["ledger_offset"], int.from_bytes(fields.get("sums", b"")[:8], "little"))
            for name, fields in told
            if fields["policy"] == policy
        ]

    @property
    def owed(self) -> set[bytes]:
        return {key for key, _ in self.table.partition(PARTITION).scan(OWED)}


@pytest.fixture
def bench() -> Bench:
    assert topics.partition_for(STUCK, 4) != topics.partition_for(OTHER, 4)
    return Bench()


async def test_a_partition_that_takes_nothing_holds_up_no_other(bench):
    bench.stick()
    await bench.fold(reward("x", policy=STUCK), reward("y", policy=OTHER))
    await bench.fold(reward("z", policy=OTHER))
    assert bench.emitted(OTHER) == [
        ("statistics", 2, 1),
        ("statistics_mark", 2, 0),
        ("statistics", 3, 2),
        ("statistics_mark", 3, 0),
    ]
    assert bench.emitted(STUCK) == []
    assert len(bench.owed) == 2  # the row and the mark


async def test_what_is_owed_is_told_as_it_is_when_it_is_paid_its_mark_last(bench):
    """
    offset       0    1    2
    homepage     x    y    z     0 is sent and waits; 1 and 2 are owed, and told together
    """
    bench.stick()
    for name in "xyz":
        await bench.fold(reward(name, policy=STUCK))
    await bench.pay()
    bench.take_again()
    await bench.pay()
    assert bench.emitted(STUCK) == [
        ("statistics", 1, 1),
        ("statistics_mark", 1, 0),
        ("statistics", 3, 3),
        ("statistics_mark", 3, 0),
    ]
    assert bench.owed == set()
    await bench.fold(reward("w", policy=STUCK))
    assert bench.emitted(STUCK)[4:] == [("statistics", 4, 4), ("statistics_mark", 4, 0)]


async def test_what_is_taken_late_and_has_not_changed_is_not_told_again(bench):
    bench.stick()
    await bench.fold(reward("x", policy=STUCK))
    bench.take_again()
    await bench.pay()
    assert bench.emitted(STUCK) == [("statistics", 1, 1), ("statistics_mark", 1, 0)]
    assert bench.owed == set()


async def test_whoever_goes_on_after_a_kill_owes_what_was_owed(bench):
    bench.stick()
    await bench.fold(reward("x", policy=STUCK))
    await bench.fold(reward("y", policy=STUCK))
    bench.broker.cut_off(takes_first=False)
    bench.table.lose()
    bench.start()
    bench.take_again()
    await bench.pay()
    assert bench.emitted(STUCK) == [("statistics", 2, 2), ("statistics_mark", 2, 0)]
    assert bench.owed == set()


async def test_a_row_that_changes_while_it_is_paid_is_still_owed(bench):
    bench.stick()
    await bench.fold(reward("x", policy=STUCK))
    bench.broker.cut_off(takes_first=False)
    bench.start()
    await bench.agent.open(PARTITION)
    await bench.agent.pay(PARTITION)  # is sent, and waits
    await bench.fold(reward("y", policy=STUCK))
    bench.take_again()
    await bench.pay()
    assert bench.emitted(STUCK)[-2:] == [("statistics", 2, 2), ("statistics_mark", 2, 0)]
    assert bench.owed == set()


async def test_no_mark_goes_before_all_rows_of_its_policy(bench):
    """More rows than one payment holds, and the first of them changes between two payments."""
    count = PAYMENT_BYTES // 4_000
    # d = 40: 3 + 40 + 40 · 41 / 2 = 863 integers of 8 bytes, 6.9 kB a row: two payments
    wide = {"policy": STUCK, "context_vector": bytes(80)}
    bench.stick()
    for start in range(0, count, 50):
        await bench.fold(*(reward(f"x{n}", bucket=n, **wide) for n in range(start, min(count, start + 50))))
    bench.broker.cut_off(takes_first=False)
    bench.start()
    await bench.agent.open(PARTITION)
    bench.take_again()
    await bench.agent.pay(PARTITION)
    first = bench.emitted(STUCK)
    assert 0 < len(first) < count
    assert {name for name, *_ in first} == {"statistics"}
    await bench.fold(reward("again", bucket=0, **wide))
    await bench.pay()
    assert [entry[0] for entry in bench.emitted(STUCK)].index("statistics_mark") == len(bench.emitted(STUCK)) - 1
    assert ("statistics", count + 1, 2) in bench.emitted(STUCK)
    assert bench.owed == set()


async def test_two_partitions_that_take_nothing_are_paid_each_when_it_takes_again(bench):
    places = {policy: (topics.STATISTICS, topics.partition_for(policy, 4)) for policy in (STUCK, OTHER)}
    bench.broker.stuck = set(places.values())
    await bench.fold(reward("x", policy=STUCK), reward("y", policy=OTHER))
    bench.broker.stuck = {places[STUCK]}
    bench.broker.take()
    await bench.pay()
    assert bench.emitted(OTHER)[-1] == ("statistics_mark", 2, 0)
    await bench.fold(reward("z", policy=OTHER))
    assert bench.emitted(OTHER)[-1] == ("statistics_mark", 3, 0)
    assert bench.emitted(STUCK) == []
    bench.take_again()
    await bench.pay()
    assert bench.emitted(STUCK)[-1] == ("statistics_mark", 2, 0)


async def test_a_release_that_knows_of_no_debt_refuses_a_state_that_has_one(bench):
    def version() -> bytes:
        return bench.table.partition(PARTITION).stored[PROGRESS][:3]

    bench.stick()
    await bench.fold(reward("x", policy=STUCK))
    assert version() == b"[2,"
    bench.take_again()
    await bench.pay()
    assert version() == b"[1,"
    assert fold_state_from_bytes(bench.table.partition(PARTITION).stored[PROGRESS]).position == 1


async def test_what_a_partition_refuses_is_no_debt_but_a_failure(bench):
    bench.stick()
    await bench.fold(reward("x", policy=STUCK))
    ((_, _, future),) = bench.broker.waiting
    future.set_exception(StateError("refused"))
    with pytest.raises(StateError, match="refused"):
        await bench.pay()
    assert bench.owed


async def test_a_step_waits_for_a_slow_partition_before_it_owes(bench):
    bench.agent = LearnAgent(bench.table, bench.broker, patience_s=60.0)
    bench.stick()
    loop = asyncio.get_running_loop()
    bench.broker.interrupt = lambda _: loop.call_soon(bench.take_again)
    await bench.fold(reward("x", policy=STUCK))
    assert bench.owed == set()
