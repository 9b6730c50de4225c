"""Work of several callers on one event loop: asked together, in turn, and never long at a time.

A busy node reads several sockets before it runs anything: what they ask is one question to the model then, where it
would have been many. Nobody waits for company: requests are answered as soon as the loop has nothing older to do.

    an ask     is answered whole, with others, in one go
    a work     is a generator (`pieces.py`): a go advances it, piece by piece, until the go's time is over

Callers take turns by what they were given so far (start-time fair queuing, Goyal, Vin and Cheng 1996): of those who
want something the one is next who has had least. A go answers or works, and is short where there are several callers:
between two goes the loop reads and writes sockets, so who asks for little waits for one go, whatever others ask for.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from time import perf_counter
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from pipeline.serve.pieces import Made, Pieces

log = logging.getLogger(__name__)

Ask = TypeVar("Ask")
Answer = TypeVar("Answer")
Answered = TypeVar("Answered", contravariant=True)  # noqa: PLC0105  the name says what, `contravariant` how

QUANTUM_S = 0.00015
"""Of a go: a quarter of what a short request takes over loopback. A piece that is longer has a go of its own."""
COST_S = 40e-6
"""What a cost of 1 takes: a decision among few arms."""
GO_COST = 8
"""What takes longer than a go is decided in pieces (`ServingNode.put`)."""
SHARED_COST = 4
"""Of the asks in one go, where there are several callers: a quantum, with what it takes to read and write them."""
LONELY_COST = 32
"""The same where there was one caller only for a while: who comes first to share waits so long once."""
LONELY_AFTER_S = 1.0
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


class _Wanted(NamedTuple):
    """What a caller waits for."""

    what: Any
    waiter: Waiter[Any]
    cost: int
    """Of an ask; what a work takes is measured."""
    is_work: bool = False


class Turn(Generic[Ask, Answer]):
    """What waits for a go."""

    def __init__(
        self,
        answer_all: Callable[[Sequence[Ask]], Sequence[Answer | Exception]],
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        """Take what answers several at once; an exception in a place is raised to who asked there."""
        self._answer_all = answer_all
        self._clock = clock
        self._queues: dict[str, deque[_Wanted]] = {}
        """By caller."""
        self._next: list[tuple[float, int, str]] = []
        """A heap of those callers: how long each was served, a number of its own, its name."""
        self._given_s: dict[str, float] = {}
        """The same of callers that want nothing now."""
        self._now_s = 0.0
        """What was given to who had least, when it was last looked at."""
        self._numbers = 0
        self._is_due = False
        """Whether the loop has a go to do."""
        self._last_caller = ""
        self._changed_s = -math.inf
        """When another caller than the one before it wanted something."""

    async def ask(self, asked: Ask, caller: str = "", cost: int = 1) -> Answer:
        """Be answered, with others.

        Raises what the answer is, where it is an exception.
        """
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.put(asked, future, caller, cost)
        return await future

    def later(self, done: Callable[[], None], caller: str) -> None:
        """Have a short thing done that nobody waits for, when the caller's turn comes."""
        wanted = _Wanted(_once(done), _NOBODY, 0, is_work=True)
        self._put(wanted, caller)

    async def work(self, pieces: Pieces[Made], caller: str) -> Made:
        """Have a long work done as the caller's turns come; it is closed where nobody waits for it any more."""
        future: asyncio.Future[Made] = asyncio.get_running_loop().create_future()
        self.put_work(pieces, future, caller)
        return await future

    def put_work(self, pieces: Pieces[Made], waiter: Waiter[Made], caller: str) -> None:
        """Have a long work done, and `waiter` told."""
        self._put(_Wanted(pieces, waiter, 0, is_work=True), caller)

    def put(self, asked: Ask, waiter: Waiter[Answer], caller: str = "", cost: int = 1) -> None:
        """Have `waiter` answered, with others."""
        self._put(_Wanted(asked, waiter, cost), caller)

    def _put(self, wanted: _Wanted, caller: str) -> None:
        if caller != self._last_caller:
            self._last_caller, self._changed_s = caller, self._clock()
        queue = self._queues.get(caller)
        if queue is None:
            queue = self._queues[caller] = deque()
            self._line_up(caller, max(self._given_s.pop(caller, 0.0), self._now_s))
        queue.append(wanted)
        if not self._is_due:
            self._come_again()

    def _come_again(self) -> None:
        self._is_due = True
        asyncio.get_running_loop().call_soon(self._go)

    def _go(self) -> None:
        self._is_due = False
        asks = self._take_asks()
        # Where something is left a go is due before anything else happens, which may put more.
        if self._queues:
            self._come_again()
        if asks:
            self._answer(asks)
        else:
            self._work()

    def _take_asks(self) -> list[_Wanted]:
        """Take the asks that fit in one go, of those whose turn it is."""
        asks: list[_Wanted] = []
        is_shared = self._clock() - self._changed_s < LONELY_AFTER_S
        left = SHARED_COST if is_shared else LONELY_COST
        while self._next:
            queue = self._queues[self._next[0][2]]
            if queue[0].is_work or (asks and queue[0].cost > left):
                break
            self._now_s, _, caller = heappop(self._next)
            given_s = self._now_s
            # As long as nobody has had less it is their turn again.
            others_s = self._next[0][0] if self._next else math.inf
            while queue and given_s <= others_s and not queue[0].is_work and (not asks or queue[0].cost <= left):
                wanted = queue.popleft()
                if wanted.waiter.done():  # whoever has gone away is shown nothing, so there is nothing to do
                    continue
                asks.append(wanted)
                left -= wanted.cost
                self._now_s = given_s
                given_s += wanted.cost * COST_S
            self._move_on(caller, given_s)
        return asks

    def _answer(self, asks: Sequence[_Wanted]) -> None:
        try:
            answers = self._answer_all([wanted.what for wanted in asks])
        except Exception as error:  # noqa: BLE001  it belongs to those who wait, not to the loop
            answers = [error] * len(asks)
        for wanted, answer in zip(asks, answers, strict=True):
            _tell(wanted.waiter, answer)

    def _work(self) -> None:
        """Advance the works whose turn it is until the go's time is over."""
        began_s = at_s = self._clock()
        while self._next and at_s - began_s < QUANTUM_S:
            queue = self._queues[self._next[0][2]]
            if not queue[0].is_work:
                break
            self._now_s, _, caller = heappop(self._next)
            if self._is_over(queue[0], began_s + QUANTUM_S):
                queue.popleft()
            before_s, at_s = at_s, self._clock()
            self._move_on(caller, self._now_s + at_s - before_s)

    def _is_over(self, wanted: _Wanted, until_s: float) -> bool:
        """Advance a work; return whether it has come to an end."""
        pieces, waiter, _, _ = wanted
        if waiter.done():
            pieces.close()
            return True
        try:
            next(pieces)
            while self._clock() < until_s:
                next(pieces)
        except StopIteration as end:
            waiter.set_result(end.value)
        except Exception as error:  # noqa: BLE001  as above
            waiter.set_exception(error)
        else:
            return False
        return True

    def _move_on(self, caller: str, given_s: float) -> None:
        """Note what the caller whose turn it was has been given."""
        if self._queues[caller]:
            self._line_up(caller, given_s)
            return
        del self._queues[caller]
        self._given_s[caller] = given_s
        if len(self._given_s) > MOST_REMEMBERED:
            self._given_s = {name: before_s for name, before_s in self._given_s.items() if before_s > self._now_s}
            if len(self._given_s) > MOST_REMEMBERED:
                self._given_s.clear()

    def _line_up(self, caller: str, given_s: float) -> None:
        self._numbers += 1
        heappush(self._next, (given_s, self._numbers, caller))


class _Nobody:
    """In place of who would wait."""

    def done(self) -> bool:
        return False

    def set_result(self, _: object, /) -> None:
        """Take nothing."""

    def set_exception(self, exception: Exception, /) -> None:
        """Tell the log."""
        log.error("later-failed", exc_info=exception)


_NOBODY = _Nobody()


def _once(done: Callable[[], None]) -> Pieces[None]:
    done()
    return
    yield


def _tell(waiter: Waiter[Any], answer: object) -> None:
    if isinstance(answer, Exception):
        waiter.set_exception(answer)
    else:
        waiter.set_result(answer)
