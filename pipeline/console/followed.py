"""The topics that pages are made of, followed in the background: policies, live snapshots, their history, audit.

Each is read from its start and kept up with, whatever the broker does; while it is away the pages say so, and show what
was known. A page never waits for a broker.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from aiokafka.errors import KafkaError

from pipeline.audit.entry import Audit, latest_of_each
from pipeline.codec.readable import readable
from pipeline.console.versions import MAX_POLICIES, Line
from pipeline.errors import PipelineError
from pipeline.policy.book import PolicyBook
from pipeline.publish.outline import Kept
from pipeline.serve.following.follower import SnapshotFollower
from pipeline.serve.following.snapshot import LoadedSnapshot
from pipeline.stream.log.follow import TopicFollower
from pipeline.stream.log.passed_over import PassedOver
from pipeline.stream.log.snapshot_records import SnapshotReader
from pipeline.stream.log.topics import AUDIT, SNAPSHOT_HISTORY
from pipeline.stream.policies import Policies
from pipeline.stream.security import Address

log = logging.getLogger(__name__)

RETRY_S = 1.0
MAX_AUDITS = 2_000
CHUNK = 64
"""Records that are decoded in one go, in a thread."""


class Followed:
    """What is known by now."""

    def __init__(self, broker: Address) -> None:
        self.broker = broker
        self.book = PolicyBook()
        self.lines: dict[str, Line] = {}
        """By policy."""
        self.away: dict[str, str] = {}
        """By what is followed: why it can't be at present."""
        self.caught_up: set[str] = set()
        """What has been read up to its end once."""
        self.left_out = 0
        """Policies beyond those that there is room for."""
        self._snapshots = SnapshotFollower(broker)
        self._audits: deque[Audit] = deque(maxlen=MAX_AUDITS)

    @property
    def live(self) -> Mapping[str, LoadedSnapshot]:
        """By policy, the snapshot that decides."""
        return self._snapshots.snapshots

    @property
    def refused(self) -> str:
        """Why the last snapshot that could not go live did not; empty: there was none."""
        return self._snapshots.last_refusal

    @property
    def is_ready(self) -> bool:
        """Whether a page can tell all there is."""
        return {"policies", SNAPSHOT_HISTORY} <= self.caught_up

    def age_ms(self, policy: str) -> int | None:
        """Return how long ago the policy's live snapshot was published; None where there is none."""
        return self._snapshots.age_ms(policy, time.time_ns() // 1_000_000) if policy in self.live else None

    def acts(self, policy: str | None = None) -> Sequence[Audit]:
        """Return what operators did, newest first."""
        return [one for one in reversed(latest_of_each(self._audits)) if policy in (None, one.policy)]

    async def run(self) -> None:
        """Follow until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._snapshots.follow())
            tasks.create_task(self._again("policies", self._follow_policies))
            tasks.create_task(self._again(SNAPSHOT_HISTORY, self._follow_history))
            tasks.create_task(self._again(AUDIT, self._follow_audit))

    async def _again(self, what: str, follow: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await follow()
            except (PipelineError, KafkaError) as error:
                if self.away.get(what) != str(error):  # told once, and shown until it is over
                    log.warning("not-followed what=%s error=%s", what, error)
                self.away[what] = str(error)
            await asyncio.sleep(RETRY_S)

    async def _follow_policies(self) -> None:
        policies = Policies(self.broker)
        try:
            await policies.start()
            self.book = policies.book
            self._note("policies")
            await policies.follow()
        finally:
            await policies.stop()

    async def _follow_history(self) -> None:
        lines: dict[str, Line] = {}
        reader = SnapshotReader()

        async def take(records: Sequence[Any]) -> None:
            for first in range(0, len(records), CHUNK):
                chunk = records[first : first + CHUNK]
                # Decoded in a thread, and put where pages look by the loop alone.
                for record, one in await asyncio.to_thread(_decoded, reader, chunk):
                    self._put(lines, one, record.timestamp)

        await self._follow(SNAPSHOT_HISTORY, take, lambda: setattr(self, "lines", lines))

    def _put(self, lines: dict[str, Line], one: Kept, published_at_ms: int) -> None:
        policy = one.fields["policy"]
        if policy not in lines and len(lines) >= MAX_POLICIES:
            self.left_out += 1
            return
        id_of_outlined = one.id if one.is_outline else None
        lines.setdefault(policy, Line()).add(one.content, one.fields, published_at_ms, id_of_outlined=id_of_outlined)

    async def _follow_audit(self) -> None:
        tell = PassedOver(AUDIT)
        self._audits.clear()

        async def take(records: Sequence[Any]) -> None:
            for record in records:
                pairs = [(record.offset, record.value)]
                for _, __, fields in readable(record.partition, pairs, "audit", pass_over=tell):
                    self._audits.append(Audit(**fields))

        await self._follow(AUDIT, take, lambda: None)

    async def _follow(
        self, topic: str, take: Callable[[Sequence[Any]], Awaitable[None]], at_end: Callable[[], None]
    ) -> None:
        follower = TopicFollower(self.broker, topic)
        try:
            await follower.start()
            async for records in follower.batches_to_end():
                await take(records)
            at_end()
            self._note(topic)
            while True:
                await take(await follower.poll())
        finally:
            await follower.stop()

    def _note(self, what: str) -> None:
        self.away.pop(what, None)
        self.caught_up.add(what)


def _decoded(reader: SnapshotReader, records: Sequence[Any]) -> list[tuple[Any, Kept]]:
    return list(reader.read(records))
