"""Which batches a lane takes: those that begin where the stage's state ends."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from pipeline.stream.batch import Batch
from pipeline.stream.shell import _Lane

GENERATION = 7


class Consumer:
    """Counts rewinds; each begins a new epoch."""

    def __init__(self) -> None:
        self.app = SimpleNamespace(consumer_generation_id=GENERATION)
        self.rewinds: list[int] = []

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

    async def handle(self, batch: Batch) -> None:
        self.handled.append(batch)


class Bench:
    def __init__(self) -> None:
        self.consumer, self.stage = Consumer(), Stage()
        self.lane = _Lane(self.consumer, self.stage, lambda _: None)

    async def take(self, first: int, *, epoch: int = 0, generation: int = GENERATION) -> bool:
        batch = Batch("topic", 3, [SimpleNamespace(offset=first)], first + 1, 0, epoch)
        return await self.lane._handle(SimpleNamespace(value=batch, generation_id=generation))


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
