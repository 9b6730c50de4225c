"""What a partition of `statistics` has not taken yet is owed to it, and nobody else waits for that.

A step of LEARN changes rows of many policies, and each policy's lie in one partition of `statistics`. A step waits
`PATIENCE_S` for all of them; the names of what is not acknowledged by then become durable with the step.

    step 7   rows and marks ─▶ statistics/0, /1     0 says nothing: its rows and marks are owed
    step 8   rows and marks ─▶ statistics/1         of 0 it is owed too: nothing is sent behind what waits there
    pay      what is owed, as it is by now ─▶ statistics/0, as soon as that has taken what waits there

Rows are absolute, and what is owed is every row that has changed since the partition's last mark. So rows as they are
at one durable position, and behind them a mark of that position, are a consistent cut again, however many steps lie
between. In the order of names a policy's rows come before its mark, and each payment begins with the first name that is
owed: a mark goes out only with or behind all rows of its policy (ops/decisions/0052-statistics-that-are-owed.md).

Table rows:   o<partition>/<name>   a row or a mark of `statistics` that is owed
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import orjson

from pipeline.errors import StateError
from pipeline.learn.memory import FoldState, RowKey, fold_state_from_bytes, statistics_from_bytes
from pipeline.learn.statistics_records import Told, mark_told, row_told
from pipeline.stream.event_loop import Steps
from pipeline.stream.log.topics import STATISTICS
from pipeline.stream.state.durable import DurablePartition
from pipeline.stream.state.tables import PROGRESS

log = logging.getLogger(__name__)

SUMS = b"c"
OWED = b"o"
PATIENCE_S = 1.0
"""A broker that is well acknowledges within milliseconds. What comes later costs a few rows more, and nothing else."""
PAYMENT_BYTES = 1 << 20
"""Sent at once: a tenth of a second of work, in steps."""
_THERE = b"1"


class Late(NamedTuple):
    """What a step tells one partition of `statistics`, and could not wait for."""

    names: frozenset[bytes]
    sent: asyncio.Future[None] | None
    """Ends when it is acknowledged; None: it was not sent, since others wait there."""


@dataclass(slots=True)
class Debt:
    """To one partition of `statistics`."""

    names: set[bytes] = field(default_factory=set)
    """What is on its way and has not changed since."""
    sent: asyncio.Future[None] | None = None
    """Ends when that is acknowledged."""
    since_s: float = field(default_factory=time.monotonic)


class Owing:
    """What one partition of LEARN owes. Nothing else writes its rows: a payment must not come between a step's."""

    def __init__(self, held: DurablePartition, patience_s: float = PATIENCE_S) -> None:
        self._held = held
        self._patience_s = patience_s
        places = {int(name[1:].partition(b"/")[0]) for name, _ in held.rows.scan(OWED)}
        self._debts = {to: Debt() for to in places}
        self._writing = asyncio.Lock()

    @property
    def places(self) -> frozenset[int]:
        """The partitions of `statistics` that something is owed to."""
        return frozenset(self._debts)

    async def tell(self, told: Mapping[int, Sequence[Told]]) -> dict[int, Late]:
        """Send what a step tells, by partition of `statistics`; return what is owed of it.

        Raises:
            UnavailableError: refused, not merely waited for.
        """
        flowing = {(STATISTICS, to): [(one.key, one.value) for one in told[to]] for to in told.keys() - self._debts}
        waiting = await self._held.deliver_within(self._patience_s, flowing)
        return {
            to: Late(frozenset(one.name for one in ones), waiting.get((STATISTICS, to)))
            for to, ones in told.items()
            if (STATISTICS, to) in waiting or (STATISTICS, to) not in flowing
        }

    async def keep(
        self,
        rows: Mapping[bytes, bytes | None],
        index: Iterable[tuple[bytes, bool]],
        state: FoldState,
        late: Mapping[int, Late],
    ) -> None:
        """Make a step durable, and what is owed of it."""
        owed = {_owed(to, name): _THERE for to, one in late.items() for name in one.names}
        async with self._writing:
            progress = state.to_bytes(is_owing=bool(late or self._debts))
            await self._held.keep({**rows, **owed, PROGRESS: progress, **self._held.sources.rows()}, index)
            for to, one in late.items():
                if (debt := self._debts.get(to)) is not None:
                    debt.names -= one.names
                else:
                    self._debts[to] = Debt(set(one.names) if one.sent else set(), one.sent)
                    log.warning("statistics-owed partition=%s to=%s names=%s", self._held.number, to, len(one.names))

    async def pay(self) -> None:
        """Go on with each partition that has taken what was sent; wait for none.

        Raises:
            UnavailableError: refused.
        """
        for to, debt in list(self._debts.items()):
            if debt.sent is None or debt.sent.done():
                async with self._writing:
                    await self._pay(to, debt)

    async def _pay(self, to: int, debt: Debt) -> None:
        if debt.sent is not None:
            debt.sent.result()
            if debt.names:
                await self._held.keep(dict.fromkeys(_owed(to, name) for name in debt.names))
            debt.sent = None
        state = self._durable()
        told = await self._next(to, state)
        debt.names = {one.name for one in told}
        if told:
            outgoing = {(STATISTICS, to): [(one.key, one.value) for one in told]}
            (debt.sent,) = self._held.outbox.send_each(outgoing).values()
            return
        del self._debts[to]
        await self._held.keep({PROGRESS: state.to_bytes(is_owing=bool(self._debts))})
        seconds = time.monotonic() - debt.since_s
        log.info("statistics-paid partition=%s to=%s seconds=%.1f", self._held.number, to, seconds)

    async def _next(self, to: int, state: FoldState) -> list[Told]:
        """Return the first of what is owed, as it is at the state that is durable."""
        told: list[Told] = []
        size, steps = 0, Steps()
        for stored, _ in self._held.rows.scan(_owed(to, b"")):
            name = stored.partition(b"/")[2]
            told.append(self._told(name, state))
            size += len(told[-1].key) + len(told[-1].value)
            if size >= PAYMENT_BYTES:
                break
            await steps.rest()
        return told

    def _durable(self) -> FoldState:
        stored = self._held.rows.get(PROGRESS)
        if stored is None:
            raise StateError("statistics are owed by a state that says of no ledger that it is folded: it is damaged")
        return fold_state_from_bytes(stored)

    def _told(self, name: bytes, state: FoldState) -> Told:
        source, parts = self._held.number, orjson.loads(name)
        if len(parts) == len(("policy", "generation")):
            policy, generation = parts
            return mark_told(source, policy, generation, state)
        row = self._held.rows.get(SUMS + name)
        if row is None:
            raise StateError(f"a row of statistics is owed that is not there: {name!r}; LEARN's state is damaged")
        return row_told(source, RowKey(*parts), statistics_from_bytes(row), state)


def _owed(to: int, name: bytes) -> bytes:
    return OWED + b"%d/" % to + name
