"""Work of several callers on one event loop: asked together, in turn, and never long at a time.

A busy node reads several sockets before it runs anything: what they ask is one question to the model then, where it
would have been many. Nobody waits for company: requests are answered as soon as the loop has nothing older to do.

What one go takes is bounded by its cost, and callers take turns by what they were given so far (start-time fair
queuing, Goyal, Vin and Cheng 1996): of those who want something the one is next who has had least. Between two goes the
loop reads sockets, so whoever asks for little waits for one go, whatever others ask for.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from typing import Any, Generic, Protocol, TypeVar

Ask = TypeVar("Ask")
Answer = TypeVar("Answer")
Made = TypeVar("Made")
Answered = TypeVar("Answered", contravariant=True)  # noqa: PLC0105  the name says what, `contravariant` how

GO_COST = 32
"""Of one go: 1.3 ms at the cost of a decision among few arms."""
MOST_REMEMBERED = 10_000
"""Callers whose share is remembered while they want nothing."""


class Waiter(Protocol[Answered]):
    """Who waits for an answer: a future, or what does the same without a task."""

    def done(self) -> bool:
        """Whether nobody waits any more."""

    def set_result(self, result: Answered, /) -> None:
        """Take the answer."""

    def set_exception(self, exception: Exception, /) -> None:
        """Take what is raised instead."""


class Turn(Generic[Ask, Answer]):
    """What waits for a go."""

    def __init__(self, answer_all: Callable[[Sequence[Ask]], Sequence[Answer | Exception]]) -> None:
        """Take what answers several at once; an exception in a place is raised to who asked there."""
        self._answer_all = answer_all
        self._queues: dict[str, deque[tuple[Any, Waiter[Any], int, bool]]] = {}
        """By caller: what is asked or done, who waits for it, what it costs, and whether it is a step."""
        self._next: list[tuple[int, int, str]] = []
        """A heap of those callers: what each was given, a number of its own, its name."""
        self._given: dict[str, int] = {}
        self._now = 0
        """What was given to who had least, when it was last looked at."""
        self._numbers = 0

    async def ask(self, asked: Ask, caller: str = "", cost: int = 1) -> Answer:
        """Be answered, with others.

        Raises what the answer is, where it is an exception.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()
        self.put(asked, future, loop, caller, cost)
        return await future

    async def step(self, work: Callable[[], Made], caller: str, cost: int) -> Made:
        """Have a piece of longer work done when the caller's turn comes."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Made] = loop.create_future()
        self._put(work, future, loop, caller, cost, is_step=True)
        return await future

    def put(
        self, asked: Ask, waiter: Waiter[Answer], loop: asyncio.AbstractEventLoop, caller: str = "", cost: int = 1
    ) -> None:
        """Have `waiter` answered, with others."""
        self._put(asked, waiter, loop, caller, cost, is_step=False)

    def _put(
        self,
        asked: Any,
        waiter: Waiter[Any],
        loop: asyncio.AbstractEventLoop,
        caller: str,
        cost: int,
        *,
        is_step: bool,
    ) -> None:
        if not self._queues:
            loop.call_soon(self._go, loop)
        queue = self._queues.get(caller)
        if queue is None:
            queue = self._queues[caller] = deque()
            self._line_up(caller, max(self._given.pop(caller, 0), self._now))
        queue.append((asked, waiter, cost, is_step))

    def _line_up(self, caller: str, given: int) -> None:
        self._numbers += 1
        heappush(self._next, (given, self._numbers, caller))

    def _take(self) -> tuple[list[tuple[Any, Waiter[Any]]], list[tuple[Any, Waiter[Any]]]]:
        """Take what fits in one go: what is asked, and steps."""
        asks: list[tuple[Any, Waiter[Any]]] = []
        steps: list[tuple[Any, Waiter[Any]]] = []
        left = GO_COST
        while self._next and left > 0:
            self._now, _, caller = heappop(self._next)
            queue = self._queues[caller]
            asked, waiter, cost, is_step = queue.popleft()
            if waiter.done():  # whoever has gone away is shown nothing, so there is nothing to do
                cost = 0
            else:
                (steps if is_step else asks).append((asked, waiter))
                left -= cost
            if queue:
                self._line_up(caller, self._now + cost)
                continue
            del self._queues[caller]
            self._given[caller] = self._now + cost
            if len(self._given) > MOST_REMEMBERED:
                self._given = {name: given for name, given in self._given.items() if given > self._now}
                if len(self._given) > MOST_REMEMBERED:
                    self._given.clear()
        return asks, steps

    def _go(self, loop: asyncio.AbstractEventLoop) -> None:
        asks, steps = self._take()
        if self._queues:
            loop.call_soon(self._go, loop)
        if asks:
            try:
                answers = self._answer_all([asked for asked, _ in asks])
            except Exception as error:  # noqa: BLE001  it belongs to those who wait, not to the loop
                answers = [error] * len(asks)
            for (_, waiter), answer in zip(asks, answers, strict=True):
                _tell(waiter, answer)
        for work, waiter in steps:
            try:
                made = work()
            except Exception as error:  # noqa: BLE001  as above
                made = error
            _tell(waiter, made)


def _tell(waiter: Waiter[Any], answer: object) -> None:
    if isinstance(answer, Exception):
        waiter.set_exception(answer)
    else:
        waiter.set_result(answer)
