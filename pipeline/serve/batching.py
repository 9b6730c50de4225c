"""Requests that come in the same turn of the event loop, answered together.

A busy node reads several sockets before it runs anything: what they ask is one question to the model then, where it
would have been many. Nobody waits for company: requests are answered as soon as the loop has nothing older to do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

Ask = TypeVar("Ask")
Answer = TypeVar("Answer")
Answered = TypeVar("Answered", contravariant=True)  # noqa: PLC0105  the name says what, `contravariant` how

MOST = 64
"""More are answered in several goes, between which the loop does other things."""


class Waiter(Protocol[Answered]):
    """Who waits for an answer: a future, or what does the same without a task."""

    def done(self) -> bool:
        """Whether nobody waits any more."""

    def set_result(self, result: Answered, /) -> None:
        """Take the answer."""

    def set_exception(self, exception: Exception, /) -> None:
        """Take what is raised instead."""


class Turn(Generic[Ask, Answer]):
    """What waits for the end of this turn."""

    def __init__(self, answer_all: Callable[[Sequence[Ask]], Sequence[Answer | Exception]]) -> None:
        """Take what answers several at once; an exception in a place is raised to who asked there."""
        self._answer_all = answer_all
        self._waiting: list[tuple[Ask, Waiter[Answer]]] = []

    async def ask(self, asked: Ask) -> Answer:
        """Be answered with the others of this turn.

        Raises what the answer is, where it is an exception.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()
        self.put(asked, future, loop)
        return await future

    def put(self, asked: Ask, waiter: Waiter[Answer], loop: asyncio.AbstractEventLoop) -> None:
        """Have `waiter` answered with the others of this turn."""
        if not self._waiting:
            loop.call_soon(self._answer, loop)
        self._waiting.append((asked, waiter))

    def _answer(self, loop: asyncio.AbstractEventLoop) -> None:
        taken, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
        if self._waiting:
            loop.call_soon(self._answer, loop)
        # Whoever has gone away is shown nothing, so there is nothing to decide.
        taken = [one for one in taken if not one[1].done()]
        if not taken:
            return
        try:
            answers = self._answer_all([asked for asked, _ in taken])
        except Exception as error:  # noqa: BLE001  it belongs to those who wait, not to the loop
            answers = [error] * len(taken)
        for (_, waiter), answer in zip(taken, answers, strict=True):
            if isinstance(answer, Exception):
                waiter.set_exception(answer)
            else:
                waiter.set_result(answer)
