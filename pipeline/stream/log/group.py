"""Membership of a consumer group, by Faust: who owns which partitions, and how far the group has come.

Faust's consumer joins, hears of rebalances, and commits. It reads nothing: what it is assigned is paused before it asks
a broker for it. Lanes read instead (`lanes.py`), each from where its stage's state ends, from the end of a rebalance
until the next one begins. Committed offsets tell people and tools how far the group is; nobody begins there.
Why: ops/decisions/0027-a-partition-s-log.md.
"""

from __future__ import annotations

from typing import Any

from aiokafka import TopicPartition
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from pipeline.stream.failpoints import Reach


class MemberThread(driver.AIOKafkaConsumerThread):
    """The thread that hears of rebalances and sends heartbeats."""

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Pause what is assigned, before anything is awaited: the fetcher has not looked yet."""
        self._ensure_consumer().pause(*(TopicPartition(*tp) for tp in assigned))
        await super().on_partitions_assigned(assigned, generation_id)


class Member(driver.Consumer):
    """Commits what lanes have acknowledged."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._acknowledged: dict[TP, int] = {}
        self._committed: dict[TP, int] = {}
        """What the group knows of it."""

    def _new_consumer_thread(self) -> MemberThread:
        """Give the thread of our own; nothing public says which one Faust is to start."""
        self._member = MemberThread(self, loop=self.loop, beacon=self.beacon)
        return self._member

    def acknowledge(self, tp: TP, offset: int) -> None:
        """Note that everything of a partition below an offset is done, for the next commit."""
        self._acknowledged[tp] = offset

    async def wait_empty(self) -> None:
        """Let lanes finish what they are at, and begin nothing new; then commit. Faust asks before it gives back."""
        await self.app.rest()
        await self.commit_and_end_transactions()

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Let work in flight be finished and committed before what was acknowledged is forgotten."""
        await super().on_partitions_revoked(revoked)
        for tp in revoked:
            self._acknowledged.pop(tp, None)
            self._committed.pop(tp, None)

    async def highwaters(self, *partitions: TP) -> dict[TP, int]:
        """Tell Faust, which asks it of changelogs alone, that there is nothing to recover: `state/restore.py` does."""
        return dict.fromkeys(partitions, 0)

    async def earliest_offsets(self, *partitions: TP) -> dict[TP, int]:
        """Tell Faust, which asks it of changelogs alone, the same of their beginning.

        It ends a worker where one begins behind the end that it was told.
        """
        return dict.fromkeys(partitions, 0)

    def highwater(self, tp: TP) -> int | None:
        """Return the last stable offset, by the last fetch; None before there was one."""
        end = self.app.reader.end(TopicPartition(*tp))
        return None if end is None else end.stable_offset

    def fetched_at_ms(self, tp: TP) -> int:
        """Return when that fetch was answered."""
        end = self.app.reader.end(TopicPartition(*tp))
        return 0 if end is None else end.answered_at_ms

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Say nothing: Faust would miss fetches of its own."""

    async def force_commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:  # noqa: ARG002
        """Commit what lanes have acknowledged since the last time; Faust asks now and then, and before it leaves."""
        offsets = {
            tp: offset
            for tp in self.assignment()
            if (topics is None or tp in topics or tp.topic in topics)
            and (offset := self._acknowledged.get(tp)) not in (None, self._committed.get(tp))
        }
        if not offsets:
            return False
        reach: Reach = self.app.reach
        reach("worker.before-commit")
        did_commit = bool(await self._member.commit(offsets))
        reach("worker.after-commit")
        if did_commit:
            self._committed.update(offsets)
        return did_commit


class GroupTransport(driver.Transport):
    """The transport to give to a Faust app."""

    Consumer = Member
