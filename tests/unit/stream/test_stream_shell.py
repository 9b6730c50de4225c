"""What a lane takes: batches that begin where the stage's state ends, and those that came meanwhile as one."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest
from faust.types import TP

from pipeline.stream.log import shell
from pipeline.stream.log.fetch import Batch
from pipeline.stream.log.shell import _Lane, consume, joint, rounds

GENERATION = 7


class Consumer:
    """Counts rewinds; each begins a new epoch."""

    def __init__(self) -> None:
        self.app = SimpleNamespace(consumer_generation_id=GENERATION, reach=lambda _: None)
        self.rewinds: list[int] = []
        self.enough: set[TP] = set()
        self.put_back_messages: list[SimpleNamespace] = []

    def put_back(self, message) -> None:
        self.put_back_messages.append(message)

    def epoch(self, _) -> int:
        return len(self.rewinds)

    async def rewind(self, _, offset: int) -> None:
        self.rewinds.append(offset)


class Stage:
    """Has read up to 10."""

    name = "stage"

    def __init__(self) -> None:
        self.handled: list[Batch] = []
        self.opened: list[int] = []

    async def open(self, number: int) -> None:
        self.opened.append(number)

    def position(self, topic: str, partition: int) -> int:
        del topic, partition
        return 10

    async def handle(self, *batches: Batch) -> None:
        self.handled.extend(batches)


class Bench:
    def __init__(self) -> None:
        self.consumer, self.stage = Consumer(), Stage()
        self.lane = _Lane(self.consumer, self.stage, lambda _: None, lambda: 0.0)

    async def take(self, first: int, *, epoch: int = 0, generation: int = GENERATION) -> bool:
        batch = Batch("topic", 3, [SimpleNamespace(offset=first)], first + 1, 0, epoch)
        (is_handled,) = await self.lane._handle([SimpleNamespace(value=batch, generation_id=generation)])
        return is_handled


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_a_batch_that_begins_at_the_position_or_before_it_is_handled(bench):
    assert await bench.take(10)
    assert await bench.take(4)
    assert (len(bench.stage.handled), bench.consumer.rewinds) == (2, [])


async def test_a_batch_behind_a_gap_is_not_handled_and_the_partition_is_read_again_from_the_position(bench):
    assert not await bench.take(12)
    assert (bench.stage.handled, bench.consumer.rewinds) == ([], [10])


async def test_what_was_fetched_before_the_rewind_is_passed_over(bench):
    await bench.take(12)
    assert not await bench.take(10, epoch=0)
    assert await bench.take(10, epoch=1)


async def test_a_gap_that_a_second_reading_finds_again_is_the_log_s_own(bench):
    await bench.take(12)
    assert await bench.take(12, epoch=1)
    assert bench.consumer.rewinds == [10]


async def test_a_batch_of_before_a_rebalance_opens_nothing(bench):
    assert not await bench.take(10, generation=GENERATION - 1)
    assert (bench.stage.handled, bench.stage.opened) == ([], [])


def event(topic: str, *offsets: int, epoch: int = 0, generation: int = GENERATION, size: int = 1) -> SimpleNamespace:
    """Return an event that says whether it was acknowledged."""
    records = [SimpleNamespace(offset=offset, value=bytes(size)) for offset in offsets]
    batch = Batch(topic, 3, records, offsets[-1] + 1, offsets[-1], epoch)
    message = SimpleNamespace(value=batch, generation_id=generation, partition=3)
    made = SimpleNamespace(message=message, is_acked=False)
    made.ack = lambda: setattr(made, "is_acked", True)
    return made


def offsets(groups) -> list[list[list[int]]]:
    return [[[r.offset for e in group for r in e.message.value.records] for group in groups] for groups in groups]


def test_what_goes_on_of_a_topic_is_one_batch_and_a_round_has_one_of_each_topic():
    """a 1 2 | b 7 | a 3 | b 8 9."""
    events = [event("a", 1, 2), event("b", 7), event("a", 3), event("b", 8, 9)]
    assert offsets(rounds(events)) == [[[1, 2, 3], [7, 8, 9]]]


@pytest.mark.parametrize("other", [{"epoch": 1}, {"generation": GENERATION + 1}])
def test_batches_of_other_epochs_or_generations_are_not_joined(other):
    events = [event("a", 1), event("b", 7), event("a", 2, **other), event("a", 3, **other)]
    assert offsets(rounds(events)) == [[[1], [7]], [[2, 3]]]


def test_batches_with_a_gap_between_them_are_not_joined():
    assert offsets(rounds([event("a", 1), event("a", 3)])) == [[[1]], [[3]]]


def test_a_joint_batch_ends_as_its_last_one_and_tells_of_the_latest_fetch():
    batch = joint([event("a", 1, 2).message.value, event("a", 3).message.value])
    assert (batch.resume_offset, batch.fetched_at_ms, [r.offset for r in batch.records]) == (4, 3, [1, 2, 3])


async def test_a_lane_handles_what_waits_as_one_and_acknowledges_it_by_its_last_event(bench):
    events = [event("a", 10), event("a", 11), event("a", 12)]
    for one in events:
        bench.lane.put(one)
    (groups,) = rounds(bench.lane._take_waiting())
    await bench.lane._run(groups)
    assert [[r.offset for r in batch.records] for batch in bench.stage.handled] == [[10, 11, 12]]
    assert [one.is_acked for one in events] == [False, False, True]
    assert bench.consumer.put_back_messages == [one.message for one in events[:2]]


async def test_of_a_round_only_what_goes_on_from_the_state_is_handled_and_acknowledged(bench):
    stale, fresh = event("a", 10, generation=GENERATION - 1), event("b", 10)
    await bench.lane._run([[stale], [fresh]])
    assert [batch.topic for batch in bench.stage.handled] == ["b"]
    assert (stale.is_acked, fresh.is_acked) == (False, True)
    assert bench.consumer.put_back_messages == [stale.message]


async def test_a_rebalance_while_a_round_is_looked_at_takes_all_of_it_away(bench):
    """The gap of the second is found out by a rewind, and while that is awaited, partitions are moved."""
    first, second = event("a", 10), event("b", 12)

    async def rewind(*_) -> None:
        bench.consumer.app.consumer_generation_id += 1

    bench.consumer.rewind = rewind
    await bench.lane._run([[first], [second]])
    assert (bench.stage.handled, first.is_acked, second.is_acked) == ([], False, False)


async def test_a_partition_of_which_enough_waits_is_not_asked_for_until_its_turn(bench, monkeypatch):
    monkeypatch.setattr(shell, "ENOUGH_BYTES", 10)
    bench.lane.put(event("a", 10, size=9))
    assert bench.consumer.enough == set()
    bench.lane.put(event("a", 11, size=1))
    assert bench.consumer.enough == {TP("a", 3)}
    bench.lane._take_waiting()
    assert bench.consumer.enough == set()


async def test_a_stage_that_stops_leaves_no_partition_unasked(bench, monkeypatch):
    monkeypatch.setattr(shell, "ENOUGH_BYTES", 1)
    busy, all_given, for_ever = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def handle(*_: Batch) -> None:
        busy.set()
        await for_ever.wait()

    async def events():
        yield event("a", 10)
        await busy.wait()
        yield event("a", 11)
        all_given.set()
        await for_ever.wait()

    bench.stage.handle = handle
    stream = SimpleNamespace(noack=lambda: SimpleNamespace(events=events))
    running = asyncio.create_task(consume(stream, bench.consumer, bench.stage))
    await all_given.wait()
    assert bench.consumer.enough == {TP("a", 3)}
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert bench.consumer.enough == set()


async def test_a_lane_that_paces_itself_goes_on_when_enough_waits(bench, monkeypatch):
    """Its pace is a day; what is not enough waits for it."""
    monkeypatch.setattr(shell, "ENOUGH_BYTES", 10)
    bench.lane._pace_s = lambda: 86_400.0
    handled = asyncio.Event()
    whole = bench.stage.handle

    async def handle(*batches: Batch) -> None:
        await whole(*batches)
        handled.set()

    bench.stage.handle = handle
    running = asyncio.create_task(bench.lane.run())
    bench.lane.put(event("a", 10))
    await handled.wait()
    handled.clear()
    bench.lane.put(event("a", 9))
    bench.lane.put(event("a", 10, size=9))
    await handled.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert [[r.offset for r in batch.records] for batch in bench.stage.handled] == [[10], [9, 10]]
