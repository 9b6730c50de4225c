"""A lane reads from where its stage's state ends; what fails goes back to what is durable, and stops alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_asyncio
from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError, NotLeaderForPartitionError

from pipeline.errors import AwayError, FencedError, StateError
from pipeline.stream.log import lanes as room
from pipeline.stream.log.fetch import Batch
from pipeline.stream.log.lanes import ATTEMPTS, Lanes
from pipeline.stream.log.reading import ENOUGH_BYTES, End, Reading
from tests.kafka_log import Read

WITHIN_S = 20.0
DURABLE = 10
"""Where the state of every partition ends."""


class Crashed(Exception):  # noqa: N818  it is what happened
    """The process ended."""


class Reader:
    """Readings that a test puts into."""

    def __init__(self) -> None:
        self.readings: dict[TopicPartition, Reading] = {}
        self.begun: list[tuple[TopicPartition, int]] = []

    def begin(self, place: TopicPartition, offset: int, has_come: asyncio.Event, has_enough: asyncio.Event) -> Reading:
        self.begun.append((place, offset))
        reading = self.readings[place] = Reading(place, offset, has_come, has_enough, asyncio.Event())
        return reading

    def finish(self, reading: Reading) -> None:
        del self.readings[reading.partition]


class Stage:
    """Keeps what it handled; fails where it is told to."""

    name = "stage"

    def __init__(self) -> None:
        self.handled: list[Batch] = []
        self.closed: list[int] = []
        self.faults: dict[int, Exception] = {}
        """By partition: what each handling ends with."""
        self.may_end: asyncio.Event | None = None
        self.partitions = SimpleNamespace(close=self.close, settle=self.settle)

    async def open(self, number: int) -> None: ...

    async def settle(self) -> None: ...

    async def close(self, *numbers: int) -> None:
        self.closed.extend(numbers)

    def position(self, topic: str, partition: int) -> int:
        del topic, partition
        return DURABLE

    async def handle(self, *batches: Batch) -> None:
        if self.may_end is not None:
            await self.may_end.wait()
        if fault := self.faults.get(batches[0].partition):
            raise fault
        self.handled.extend(batches)


class Bench:
    def __init__(self, pace_s: float = 0.0, topics: tuple[str, ...] = ("a",)) -> None:
        self.reader, self.stage = Reader(), Stage()
        self.acknowledged: list[tuple[int, int]] = []
        self.told: list[tuple[int, bool]] = []
        reader: Any = self.reader
        self.lanes = Lanes(
            self.stage,
            topics,
            reader,
            lambda tp, offset: self.acknowledged.append((tp.partition, offset)),
            on_state=lambda _, number, *, has_failed: self.told.append((number, has_failed)),
            pace_s=lambda: pace_s,
        )

    def put(self, number: int, *offsets: int, behind: int | None = None, topic: str = "a") -> None:
        records = [SimpleNamespace(offset=offset, timestamp=1_000 + offset) for offset in offsets]
        self.reader.readings[TopicPartition(topic, number)].put([Read(records)], behind or offsets[-1] + 1)

    def put_next(self, number: int) -> None:
        self.put(number, self.reader.readings[TopicPartition("a", number)].position)

    async def until(self, look: Callable[[], Any]) -> None:
        async with asyncio.timeout(WITHIN_S):
            while not look():  # noqa: ASYNC110  of any condition
                await asyncio.sleep(0.001)

    async def start(self, *numbers: int) -> None:
        self.lanes.start(numbers)
        await self.until(lambda: all(self.lanes.is_open(number) for number in numbers))


@pytest_asyncio.fixture
async def bench(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    monkeypatch.setattr(room, "FIRST_PAUSE_S", 0.001)
    made = Bench()
    yield made
    await made.lanes.rest()


async def test_a_lane_reads_from_where_the_state_ends_and_acknowledges_what_was_handled(bench):
    await bench.start(3)
    bench.put(3, 10, 11, behind=15)
    await bench.until(lambda: bench.stage.handled)
    (batch,) = bench.stage.handled
    assert (batch.first_offset, [record.offset for record in batch.records]) == (10, [10, 11])
    assert bench.reader.begun == [(TopicPartition("a", 3), DURABLE)]
    assert bench.acknowledged == [(3, DURABLE), (3, 15)]


async def test_a_lane_says_how_far_it_is(bench):
    await bench.start(3)
    reading = bench.reader.readings[TopicPartition("a", 3)]
    assert bench.lanes.standings() == []  # where the log ends is not known yet
    bench.put(3, 10, 11)
    reading.end = End(stable_offset=17, answered_at_ms=0)
    await bench.until(lambda: bench.lanes.handled["a"] == 2)
    (standing,) = bench.lanes.standings()
    # The state of this stage always ends at 10, so 7 are missing; the newest that was handled is of 1,011.
    assert standing == ("stage", "a", 3, 17 - DURABLE, 1_011, 0)
    assert standing.lag_ms(5_011) == 4_000


async def test_offsets_without_records_are_handled_too(bench):
    await bench.start(3)
    bench.put(3, behind=12)
    await bench.until(lambda: bench.acknowledged[-1] == (3, 12))
    assert [(batch.first_offset, list(batch.records)) for batch in bench.stage.handled] == [(10, [])]


async def test_what_comes_while_a_lane_is_busy_is_one_batch_of_the_next_step_and_others_go_on(bench):
    bench.stage.may_end = asyncio.Event()
    await bench.start(3, 4)
    bench.put(3, 10)
    await bench.until(lambda: not bench.reader.readings[TopicPartition("a", 3)].has_waiting)
    bench.put(3, 11)
    bench.put(3, 12)
    bench.put(4, 10)
    bench.stage.may_end.set()
    await bench.until(lambda: len(bench.stage.handled) == 3)
    found = sorted((batch.partition, [record.offset for record in batch.records]) for batch in bench.stage.handled)
    assert found == [(3, [10]), (3, [11, 12]), (4, [10])]


async def test_batches_of_both_topics_are_one_step():
    bench = Bench(topics=("a", "b"))
    await bench.start(3)
    bench.put(3, 10, topic="b")
    bench.put(3, 10)
    await bench.until(lambda: bench.stage.handled)
    assert [batch.topic for batch in bench.stage.handled] == ["a", "b"]
    await bench.lanes.rest()


async def test_what_fails_once_is_closed_and_read_again_from_what_is_durable(bench):
    bench.stage.faults[3] = ValueError("unexpected")
    await bench.start(3)
    bench.put(3, 10, 11)
    await bench.until(lambda: bench.stage.closed)
    bench.stage.faults.clear()
    await bench.until(lambda: bench.lanes.is_open(3))
    bench.put(3, 10, 11)
    await bench.until(lambda: bench.stage.handled)
    assert bench.reader.begun == [(TopicPartition("a", 3), DURABLE)] * 2
    assert bench.acknowledged[-1] == (3, 12)
    assert bench.told == [(3, False)]


async def test_what_fails_again_and_again_stops_its_own_lane_and_nothing_of_it_is_acknowledged(bench):
    bench.stage.faults[3] = ValueError("unexpected")
    await bench.start(3, 4)
    for attempt in range(ATTEMPTS):
        await bench.until(lambda: bench.lanes.is_open(3))
        bench.put(3, 10)
        await bench.until(lambda attempt=attempt: len(bench.stage.closed) > attempt)
    await bench.until(lambda: bench.lanes.has_failed[3])
    bench.put(4, 10)
    await bench.until(lambda: bench.stage.handled)
    assert bench.lanes.has_failed == {3: True, 4: False}
    assert bench.told[-1] == (3, True)
    assert {offset for number, offset in bench.acknowledged if number == 3} == {DURABLE}
    assert not bench.lanes.is_open(3)


async def test_who_waits_for_brokers_asks_again_soon_and_what_fails_for_another_reason_ever_later(
    bench, monkeypatch, caplog
):
    monkeypatch.setattr(room, "LONGEST_AWAY_PAUSE_S", 0.002)
    monkeypatch.setattr(room, "LONGEST_PAUSE_S", 0.008)
    await bench.start(3)
    for attempt in range(8):
        await bench.until(lambda: bench.lanes.is_open(3))
        bench.stage.faults[3] = AwayError("no broker answers") if attempt < 4 else ValueError("unexpected")
        bench.put(3, 10)
        await bench.until(lambda attempt=attempt: len(bench.stage.closed) > attempt)
    pauses = [record.args[3] for record in caplog.records if record.msg.startswith("lane-failed")]
    # 0.001 doubled each time: held at 0.002 for those that are away; the fifth would be 0.016.
    assert pauses == [0.001, 0.002, 0.002, 0.002, 0.008, 0.008, 0.008, 0.008]


async def test_brokers_that_are_away_are_waited_for_however_long_and_what_else_fails_counts_on(bench):
    await bench.start(3)
    away = [AwayError("no broker answers"), KafkaConnectionError("refused"), NotLeaderForPartitionError()]
    faults = [*away * ATTEMPTS, *[ValueError("unexpected")] * ATTEMPTS]
    for attempt, fault in enumerate(faults):
        assert not bench.lanes.has_failed[3]
        await bench.until(lambda: bench.lanes.is_open(3))
        bench.stage.faults[3] = fault
        bench.put(3, 10)
        await bench.until(lambda attempt=attempt: len(bench.stage.closed) > attempt)
    await bench.until(lambda: bench.lanes.has_failed[3])
    assert bench.told == [(3, False), (3, True)]


async def test_a_step_that_is_done_forgives_the_failures_before_it(bench):
    await bench.start(3)
    for attempt in range(2 * ATTEMPTS):
        await bench.until(lambda: bench.lanes.is_open(3))
        bench.stage.faults[3] = ValueError("now and then")
        bench.put_next(3)
        await bench.until(lambda attempt=attempt: len(bench.stage.closed) > attempt)
        bench.stage.faults.clear()
        await bench.until(lambda: bench.lanes.is_open(3))
        bench.put_next(3)
        await bench.until(lambda attempt=attempt: len(bench.stage.handled) > attempt)
    assert bench.lanes.has_failed == {3: False}


async def test_what_another_did_with_a_partition_is_its_lane_s_failure(bench):
    await bench.start(3)
    bench.lanes.fail(3, ValueError("a tick could not be sent"))
    await bench.until(lambda: bench.stage.closed == [3])
    await bench.until(lambda: bench.lanes.is_open(3))


@pytest.mark.parametrize("error", [FencedError("claimed by another"), StateError("a row of no known version")])
async def test_a_state_that_can_not_be_trusted_ends_the_process(bench, monkeypatch, error):
    ends: list[BaseException] = []

    def crash(_: Any, found: BaseException) -> None:
        ends.append(found)
        raise Crashed

    monkeypatch.setattr(room, "crash", crash)
    bench.stage.faults[3] = error
    await bench.start(3)
    bench.put(3, 10)
    await bench.until(lambda: ends)
    assert (ends, bench.stage.closed) == ([error], [])


async def test_a_lane_that_is_to_rest_finishes_its_step_and_begins_no_other(bench):
    bench.stage.may_end = asyncio.Event()
    await bench.start(3)
    bench.put(3, 10)
    await bench.until(lambda: not bench.reader.readings[TopicPartition("a", 3)].has_waiting)
    bench.put(3, 11)
    resting = asyncio.create_task(bench.lanes.rest())
    await asyncio.sleep(0)
    bench.stage.may_end.set()
    await resting
    assert [[record.offset for record in batch.records] for batch in bench.stage.handled] == [[10]]
    assert bench.acknowledged[-1] == (3, 11)
    assert bench.reader.readings == {}


async def test_a_step_that_does_not_end_is_cut_off_and_not_acknowledged(bench, monkeypatch):
    monkeypatch.setattr(room, "REST_WITHIN_S", 0.01)
    bench.stage.may_end = asyncio.Event()
    await bench.start(3)
    bench.put(3, 10)
    await bench.until(lambda: not bench.reader.readings[TopicPartition("a", 3)].has_waiting)
    await bench.lanes.rest()
    assert (bench.stage.handled, bench.acknowledged) == ([], [(3, DURABLE)])


async def test_a_lane_that_paces_itself_goes_on_when_enough_waits():
    """Its pace is a day; what is not enough waits for it."""
    bench = Bench(pace_s=86_400.0)
    await bench.start(3)
    bench.put(3, 10)
    await bench.until(lambda: len(bench.stage.handled) == 1)
    bench.put(3, 11)
    bench.reader.readings[TopicPartition("a", 3)].put([Read([SimpleNamespace(offset=12)])], 13, ENOUGH_BYTES)
    await bench.until(lambda: len(bench.stage.handled) == 2)
    assert [record.offset for record in bench.stage.handled[1].records] == [11, 12]
    await bench.lanes.rest()


async def test_what_rests_stays_open(bench):
    await bench.start(3, 4)
    bench.put(3, 10)
    await bench.until(lambda: bench.stage.handled)
    await bench.lanes.rest()
    assert bench.stage.closed == []


async def test_a_step_that_was_cut_off_leaves_a_state_that_nobody_knows_and_it_is_closed(bench, monkeypatch):
    monkeypatch.setattr(room, "REST_WITHIN_S", 0.01)
    bench.stage.may_end = asyncio.Event()
    await bench.start(3, 4)
    bench.put(3, 10)
    await bench.until(lambda: not bench.reader.readings[TopicPartition("a", 3)].has_waiting)
    await bench.lanes.rest()
    assert bench.stage.closed == [3]


async def test_what_fails_beside_a_lane_that_ends_closes_its_partition(bench):
    class Chore:
        async def rest(self, *numbers: int) -> frozenset[int]:
            del numbers
            bench.lanes.fail(4, ValueError("a snapshot could not be sent"))
            return frozenset({3})  # was cut off

    bench.lanes.chores.append(Chore())
    await bench.start(2, 3, 4)
    await bench.lanes.rest()
    assert sorted(bench.stage.closed) == [3, 4]


async def test_a_step_that_fails_while_its_lane_is_to_end_closes_its_partition_once(bench):
    bench.stage.may_end = asyncio.Event()
    bench.stage.faults[3] = ValueError("no")
    await bench.start(3)
    bench.put(3, 10)
    await bench.until(lambda: not bench.reader.readings[TopicPartition("a", 3)].has_waiting)
    resting = asyncio.create_task(bench.lanes.rest())
    await asyncio.sleep(0)
    bench.stage.may_end.set()
    await resting
    assert bench.stage.closed == [3]


class Downstream:
    """Two stages: what one handles, the other is given; which takes a turn when it may."""

    def __init__(self, bench: Bench) -> None:
        self.upper, self.lower = bench, Bench()
        self.upper.lanes.downstream = self.lower.lanes
        self.lower.stage.may_end = asyncio.Event()

    async def start(self) -> None:
        await self.upper.start(3)
        await self.lower.start(3)

    def offer(self) -> None:
        self.upper.put_next(3)

    async def until_taken(self) -> None:
        await self.lower.until(lambda: not self.lower.reader.readings[TopicPartition("a", 3)].has_waiting)


@pytest_asyncio.fixture
async def two(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Downstream]:
    monkeypatch.setattr(room, "BEHIND_AFTER_S", 0.0)
    monkeypatch.setattr(room, "LOOK_AGAIN_S", 0.001)
    made = Downstream(bench)
    yield made
    made.lower.stage.may_end.set()
    await made.lower.lanes.rest()


async def turns(count: int = 200) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_who_runs_ahead_waits_for_who_takes_what_it_wrote(two):
    await two.start()
    two.lower.put_next(3)
    await two.until_taken()  # and is at work on it
    two.offer()
    # Its lane was asleep, waiting for something to come: that one is handled. The next one waits.
    await two.upper.until(lambda: two.upper.stage.handled)
    for _ in range(5):
        two.offer()
        await turns()
    assert len(two.upper.stage.handled) == 1
    two.lower.stage.may_end.set()
    await two.upper.until(lambda: len(two.upper.stage.handled) == 2)  # what came meanwhile is one batch
    assert len(two.upper.stage.handled[-1].records) == 5


async def test_who_writes_waits_for_nobody_that_a_broker_keeps_waiting(two, monkeypatch):
    monkeypatch.setattr(room, "STUCK_AFTER_S", 0.0)
    await two.start()
    two.lower.put_next(3)
    await two.until_taken()
    for count in range(1, 4):
        two.offer()
        await two.upper.until(lambda count=count: len(two.upper.stage.handled) == count)


async def test_who_writes_waits_for_nobody_that_another_worker_has_or_that_has_stopped(two):
    await two.upper.start(3)
    for count in range(1, 4):
        two.offer()
        await two.upper.until(lambda count=count: len(two.upper.stage.handled) == count)


async def test_partitions_wait_for_their_own(two):
    await two.upper.start(3, 4)
    await two.lower.start(3, 4)
    two.lower.put_next(3)
    await two.until_taken()
    for count in range(1, 4):
        two.upper.put_next(4)
        await two.upper.until(lambda count=count: len(two.upper.stage.handled) == count)


async def test_a_lane_that_waits_for_another_rests_at_once(two):
    await two.start()
    two.lower.put_next(3)
    await two.until_taken()
    two.offer()
    await two.upper.until(lambda: two.upper.stage.handled)
    await two.upper.lanes.rest()
    assert two.upper.stage.closed == []


async def test_what_is_handled_waits_no_more(bench):
    await bench.start(3)
    reading = bench.reader.readings[TopicPartition("a", 3)]
    assert reading.waits_s == 0.0
    bench.put(3, 10, 11)
    assert reading.waits_s > 0.0
    await bench.until(lambda: bench.acknowledged[-1] == (3, 12))
    assert reading.waits_s == 0.0
