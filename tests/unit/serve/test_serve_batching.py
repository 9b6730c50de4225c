from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

import pytest

from pipeline.serve.batching import LONELY_AFTER_S, LONELY_COST, QUANTUM_S, SHARED_COST, Turn
from pipeline.serve.pieces import Pieces


class Clock:
    """Moves only when work is done."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def pieces(clock: Clock, name: str, count: int, done: list[str], piece_s: float = QUANTUM_S / 4) -> Pieces[str]:
    for _ in range(count):
        clock.now_s += piece_s
        done.append(name)
        yield
    return name


async def test_asks_that_wait_together_are_answered_together(clock: Clock) -> None:
    gos: list[Sequence[str]] = []

    def answer_all(asked: Sequence[str]) -> Sequence[str]:
        gos.append(asked)
        return [each.upper() for each in asked]

    turn = Turn(answer_all, clock)
    assert await asyncio.gather(turn.ask("a"), turn.ask("b"), turn.ask("c")) == ["A", "B", "C"]
    assert gos == [["a", "b", "c"]]


async def test_an_ask_waits_for_one_go_of_a_long_work_and_no_more(clock: Clock) -> None:
    done: list[str] = []
    turn: Turn[str, str] = Turn(lambda asked: [done.append(each) or each for each in asked], clock)  # type: ignore[func-returns-value]
    # 8 goes of 4 pieces each.
    long = asyncio.create_task(turn.work(pieces(clock, "long", 32, done), "hostile"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert done == ["long"] * 4
    await turn.ask("short", "other")
    assert done.index("short") <= 2 * 4
    assert await long == "long"


async def test_works_of_two_callers_go_on_side_by_side_whatever_each_of_them_asks_for(clock: Clock) -> None:
    done: list[str] = []
    turn: Turn[str, str] = Turn(lambda asked: asked, clock)
    await asyncio.gather(
        *(turn.work(pieces(clock, "many", 40, done), "many") for _ in range(5)),
        turn.work(pieces(clock, "one", 40, done), "one"),
    )
    # The first half of all that is done while both want something is the one's: 40 of the first 80, to within a go.
    assert done[:80].count("one") >= 40 - 4


async def test_a_go_of_asks_is_short_where_there_are_several_callers(clock: Clock) -> None:
    sizes: list[int] = []

    def answer_all(asked: Sequence[int]) -> Sequence[int]:
        sizes.append(len(asked))
        return asked

    turn = Turn(answer_all, clock)
    clock.now_s = LONELY_AFTER_S
    await asyncio.gather(*(turn.ask(n, "one") for n in range(100)))
    assert max(sizes) == SHARED_COST  # it has just come
    sizes.clear()
    clock.now_s += LONELY_AFTER_S
    await asyncio.gather(*(turn.ask(n, "one") for n in range(100)))
    assert max(sizes) == LONELY_COST
    sizes.clear()
    await asyncio.gather(*(turn.ask(n, "one") for n in range(100)), turn.ask(-1, "other"))
    assert max(sizes) == SHARED_COST


async def test_who_asks_for_little_is_answered_before_the_dear_ask_of_another(clock: Clock) -> None:
    gos: list[Sequence[str]] = []

    def answer_all(asked: Sequence[str]) -> Sequence[str]:
        gos.append(asked)
        return asked

    turn = Turn(answer_all, clock)
    dear = [asyncio.create_task(turn.ask("dear", "hostile", cost=3 * SHARED_COST)) for _ in range(3)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert gos == [["dear"]]
    await turn.ask("little", "other")
    assert gos[:2] == [["dear"], ["little"]]
    await asyncio.gather(*dear)


async def test_a_work_that_nobody_waits_for_is_closed(clock: Clock) -> None:
    done: list[str] = []

    def work() -> Iterator[None]:
        try:
            while True:
                clock.now_s += QUANTUM_S
                yield
        finally:
            done.append("closed")

    turn: Turn[str, str] = Turn(lambda asked: asked, clock)
    waiting = asyncio.create_task(turn.work(work(), "gone"))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    waiting.cancel()
    await turn.ask("x", "other")
    await turn.work(pieces(clock, "other", 1, []), "other")
    assert done == ["closed"]


async def test_what_fails_is_told_to_who_asked_and_stops_nobody(clock: Clock) -> None:
    def fails() -> Pieces[None]:
        yield
        raise RuntimeError("no")

    turn: Turn[str, str] = Turn(lambda asked: [RuntimeError("never") for _ in asked], clock)
    told = await asyncio.gather(
        turn.work(fails(), "a"), turn.ask("x", "b"), turn.work(pieces(clock, "c", 9, []), "c"), return_exceptions=True
    )
    assert [str(each) for each in told] == ["no", "never", "c"]
