"""Write checkpoints of what LEARN has stored, beside its lanes.

    1. the rows as they are at one moment, by a snapshot of RocksDB; read, cut and hashed in a thread, part by part
    2. parts that the topic does not hold yet, each acknowledged
    3. the list of all parts, then the head: it is written only when all that it names is there
    4. tombstones for what neither this checkpoint nor the one before names

What the topic holds is read before each: killed anywhere, the next one finds what was left and goes on from it. A
worker that was taken for dead may write one more, of a prefix of the same ledger: it is as true as any, and names the
same one before it. No checkpoint is worth a lane: one that can't be written is told of, and tried again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, closing
from typing import Any, Protocol, TypeVar

from pipeline.checkpoint.head import LIST, PART, Head, key_of
from pipeline.checkpoint.parts import Part, cut, list_of
from pipeline.checkpoint.state import Moment, stored_fold, stored_lines
from pipeline.checkpoint.topic import Held, read_held, record_of
from pipeline.stream.failpoints import Reach, pass_by
from pipeline.stream.log.outbox import Outbox, Record
from pipeline.stream.log.topics import CHECKPOINTS
from pipeline.stream.security import Address

log = logging.getLogger(__name__)

AGAIN_AFTER_S = 60.0
"""When one could not be written."""
FIRST_LOOK_S = 60.0
"""After a partition was opened, at the latest: whoever has just started has other things to do."""
WHOLE = 2
"""So many checkpoints are kept whole: a reader who has begun with one has the time until the next but one."""

T = TypeVar("T")


class HeldMoment(Moment, Protocol):
    """Rows of a moment, whose folder nobody can open again before they are let go of."""

    def close(self) -> None:
        """Let go of them."""


class Rows(Protocol):
    """Where LEARN's rows are stored."""

    def moment(self) -> HeldMoment:
        """Return them as they are now."""


class Checkpoints:
    """Those of the partitions that this worker has open."""

    def __init__(
        self,
        broker: Address,
        rows_of: Callable[[int], tuple[Rows, str]],
        every_s: float,
        reach: Reach = pass_by,
        *,
        first_look_s: float = FIRST_LOOK_S,
        on_written: Callable[[int, int], None] = lambda _number, _offset: None,
    ) -> None:
        """Say what they are of.

        Args:
            broker: bootstrap servers.
            rows_of: gives an open partition's rows, and the id of the ledger's topic that they are of.
            every_s: how long after the one before the next is due; 0: never.
            reach: where a test may stop the process.
            first_look_s: after a partition was seen first, when the topic is read for it, at the latest.
            on_written: told partition and offset of each.
        """
        self._broker = broker
        self._rows_of = rows_of
        self._every_s = every_s
        self._reach = reach
        self._first_look_s = min(first_look_s, every_s)
        self._on_written = on_written
        self._due_s: dict[int, float] = {}

    async def write_if_due(self, number: int) -> None:
        """Write the checkpoint of an open partition, if it is time."""
        now_s = time.monotonic()
        if not self._every_s or now_s < self._due_s.setdefault(number, now_s + self._first_look_s):
            return
        try:
            wait_s = await self._attempt(number)
        except Exception as error:  # noqa: BLE001  whatever it is, it is not worth a lane
            log.warning("checkpoint-not-written partition=%s error=%r again_after_s=%g", number, error, AGAIN_AFTER_S)
            wait_s = AGAIN_AFTER_S
        self._due_s[number] = time.monotonic() + wait_s

    async def _attempt(self, number: int) -> float:
        """Write one, unless there is a younger one; return in how many seconds to look again."""
        held = (await read_held(self._broker, number)).get(number, Held())
        left_s = self._every_s - (time.time() - held.written_at_ms / 1000)
        if held.heads and left_s > 0:
            return min(left_s, self._every_s)
        rows, topic_id = self._rows_of(number)
        with closing(rows.moment()) as moment:
            return await self._write_new(number, moment, held, topic_id)

    async def _write_new(self, number: int, moment: Moment, held: Held, topic_id: str) -> float:
        last = next(reversed(held.heads.values()), None)
        position = stored_fold(moment).position
        # Behind the last one is only who was taken for dead, and another has gone on.
        if position == 0 or (last is not None and last.topic_id == topic_id and last.offset >= position):
            return self._every_s
        outbox = Outbox(self._broker)
        try:
            await outbox.start()
            head = await self._write(outbox, number, moment, held, last, topic_id)
        finally:
            await outbox.stop()
        log.info("checkpoint-written partition=%s offset=%s id=%s parts=%s", number, head.offset, head.id, head.parts)
        self._on_written(number, head.offset)
        return self._every_s

    async def _write(
        self, outbox: Outbox, number: int, moment: Moment, held: Held, last: Head | None, topic_id: str
    ) -> Head:
        fold = stored_fold(moment)
        names: list[str] = []

        async def send(kind: str, part: Part) -> None:
            record = await asyncio.to_thread(record_of, number, kind, part)
            await outbox.deliver([record])
            self._reach("part-sent")

        async with aclosing(in_thread(cut(stored_lines(moment)))) as parts:
            async for part in parts:
                names.append(part.name)
                if part.name not in held.parts:
                    await send(PART, part)
                    held.parts.add(part.name)
        named = list_of(names)
        if named.name not in held.lists:
            await send(LIST, named)
        previous = "" if last is None else last.id
        head = Head(topic_id, number, fold.position, fold.watermark_ms, previous, named.name, len(names))
        self._reach("parts-sent")
        await outbox.deliver([Record(CHECKPOINTS, number, head.key, head.to_bytes())])
        self._reach("head-sent")
        held.heads[head.key] = head
        held.lists[named.name] = names
        await outbox.deliver(Record(CHECKPOINTS, number, key, None) for key in superseded(held))
        self._reach("superseded")
        return head


def superseded(held: Held) -> list[bytes]:
    """Return the keys of parts and lists that none of the last checkpoints names."""
    lists = {head.state for head in list(held.heads.values())[-WHOLE:]}
    parts = {name for state in lists for name in held.lists.get(state, ())}
    return [
        *(key_of(LIST, name) for name in held.lists if name not in lists),
        *(key_of(PART, name) for name in sorted(held.parts - parts)),
    ]


async def in_thread(made: Iterator[T]) -> AsyncGenerator[T, None]:
    """Yield what an iterator gives, each made in a thread; who cancels this waits for the one that is being made."""
    nothing = object()
    while True:
        making: asyncio.Future[Any] = asyncio.ensure_future(asyncio.to_thread(next, made, nothing))
        try:
            one = await asyncio.shield(making)
        finally:
            await asyncio.wait({making})
        if one is nothing:
            return
        yield one
