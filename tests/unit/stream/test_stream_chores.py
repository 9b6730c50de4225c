from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from pipeline.errors import StateError
from pipeline.stream.log import chores as module
from pipeline.stream.log.chores import Chores
from pipeline.stream.log.lanes import Lanes

WITHIN_S = 10.0


class Open:
    """Stands in for a stage's lanes: says what is open, and is told what fails."""

    def __init__(self, *numbers: int) -> None:
        self.numbers = set(numbers)
        self.chores: list[Any] = []
        self.failed: dict[int, Exception] = {}

    def is_open(self, number: int) -> bool:
        return number in self.numbers

    def fail(self, number: int, error: Exception) -> None:
        self.failed[number] = error


@asynccontextmanager
async def chores_of(
    lanes: Open, work: Callable[[int], Any], pause: Callable[[], Any] = lambda: asyncio.sleep(0)
) -> AsyncIterator[Chores]:
    chores = Chores(cast("Lanes", lanes), lambda: (0, 1), pause, work)
    running = asyncio.create_task(chores.run())
    try:
        async with asyncio.timeout(WITHIN_S):
            yield chores
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def until(condition: Callable[[], bool]) -> None:
    while True:
        if condition():
            return
        await asyncio.sleep(0)


async def test_a_partition_that_waits_for_the_broker_keeps_no_other_waiting() -> None:
    done: list[int] = []
    answer = asyncio.Event()

    async def work(number: int) -> None:
        if number == 0:
            await answer.wait()
        done.append(number)

    async with chores_of(Open(0, 1), work):
        await until(lambda: done.count(1) >= 3)
        assert 0 not in done
        answer.set()
        await until(lambda: 0 in done)


async def test_a_partition_that_is_due_and_waits_lets_nobody_look_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_AGAIN_S", 3_600.0)
    looks = 0

    async def pause() -> None:  # as short as it is while something is due
        nonlocal looks
        looks += 1

    async def work(number: int) -> None:
        if number == 0:
            await asyncio.Event().wait()

    async with chores_of(Open(0, 1), work, pause):
        for _ in range(1_000):
            await asyncio.sleep(0)
    assert looks == 1


async def test_what_closes_a_partition_waits_for_its_work_and_cuts_off_what_takes_too_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lanes, cut = Open(0), asyncio.Event()

    async def work(number: int) -> None:
        assert number == 0
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cut.set()
            raise

    async with chores_of(lanes, work) as chores:
        await until(lambda: bool(chores._at_work))
        lanes.numbers.clear()
        assert await chores.rest(1) == frozenset()
        assert not cut.is_set()
        monkeypatch.setattr(module, "REST_WITHIN_S", 0.01)
        assert await chores.rest(0) == {0}
        assert cut.is_set()
        assert not chores._at_work


async def test_what_fails_is_the_matter_of_its_lane_and_a_state_that_can_t_be_trusted_ends_the_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    crashed: list[BaseException] = []
    monkeypatch.setattr(module, "crash", lambda _, error: crashed.append(error))
    lanes = Open(0, 1)
    errors = (ValueError("of 0"), StateError("of 1"))

    async def work(number: int) -> None:
        lanes.numbers.discard(number)
        raise errors[number]

    async with chores_of(lanes, work):
        await until(lambda: bool(lanes.failed and crashed))
    assert (lanes.failed, crashed) == ({0: errors[0]}, [errors[1]])
