"""The topic `snapshots`, followed from its start: for each policy the snapshot with the highest version.

A snapshot goes live by one dict assignment, so a decision sees the old one or the new one, whole. One that
can't be loaded is logged and passed over; the one before it stays. While no broker answers, the last ones stay too.

A large snapshot names parts that stand before it in the topic (`publish/parts.py`). It goes live when all of them are
in hand; until then it waits. In hand are all parts that the topic has: what the next version does not name is deleted
there after it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple, Protocol

from aiokafka.errors import KafkaError

from pipeline.codec import avro
from pipeline.errors import PipelineError, UnavailableError
from pipeline.publish.parts import SnapshotContent, part_names, part_of
from pipeline.serve.following.snapshot import LoadedSnapshot, load_snapshot
from pipeline.stream.log.follow import TopicFollower
from pipeline.stream.log.topics import SNAPSHOTS
from pipeline.stream.security import Address

log = logging.getLogger(__name__)

RETRY_S = 0.1
LONGEST_RETRY_S = 5.0

OnLive = Callable[[LoadedSnapshot], Awaitable[None]]
"""Told of every snapshot that goes live, just after it has; the next one is read when it is done."""


class Topic(Protocol):
    """What is read: a `TopicFollower`."""

    async def start(self) -> None:
        """Connect."""

    async def poll(self) -> Sequence[Any]:
        """Return the next records."""

    async def stop(self) -> None:
        """Disconnect."""


class _Candidate(NamedTuple):
    """A snapshot that was read and may go live."""

    policy: str
    version: int
    parts: Sequence[str]
    """Names of its parts."""
    record: Any


class SnapshotFollower:
    """The live snapshot of every policy."""

    def __init__(
        self,
        broker: Address,
        on_live: OnLive | None = None,
        *,
        open_topic: Callable[[Address, str], Topic] = TopicFollower,
    ) -> None:
        self.snapshots: dict[str, LoadedSnapshot] = {}
        """By policy."""
        self.refused = 0
        """Records that could not be loaded."""
        self.parts: defaultdict[str, dict[str, bytes]] = defaultdict(dict)
        """By policy and name: the parts that the topic has."""
        self._published_at_ms: dict[str, int] = {}
        self._waiting: dict[str, _Candidate] = {}
        """By policy: the newest that has come before all of its parts."""
        self._broker = broker
        self._on_live = on_live
        self._open_topic = open_topic
        self._changed = asyncio.Condition()

    def age_ms(self, policy: str, now_ms: int) -> int:
        """Return how long ago the live snapshot was published, by the broker's timestamp of its record."""
        return max(0, now_ms - self._published_at_ms.get(policy, now_ms))

    async def wait_ready(self, policy: str, version: int = 1) -> LoadedSnapshot:
        """Wait until the policy has a live snapshot of at least this version."""

        def is_ready() -> bool:
            return policy in self.snapshots and self.snapshots[policy].version >= version

        async with self._changed:
            await self._changed.wait_for(is_ready)
        return self.snapshots[policy]

    async def follow(self) -> None:
        """Keep up until cancelled, whatever the broker does."""
        retry_s = RETRY_S
        while True:
            topic = self._open_topic(self._broker, SNAPSHOTS)
            try:
                await topic.start()
                retry_s = RETRY_S
                self.parts.clear()  # all that is needed comes again
                while True:
                    await self._take(await topic.poll())
            except (KafkaError, UnavailableError) as error:
                log.warning("snapshots-unreachable broker=%s retry_s=%s error=%r", self._broker, retry_s, error)
            finally:
                await topic.stop()
            await asyncio.sleep(retry_s)
            retry_s = min(2 * retry_s, LONGEST_RETRY_S)

    async def _take(self, records: Sequence[Any]) -> None:
        """Make the newest loadable snapshot of each policy live; older ones of the same fetch are not loaded."""
        for policy, candidates in self._by_policy(records).items():
            for candidate in sorted(candidates, key=lambda candidate: candidate.version, reverse=True):
                if self._is_newer(candidate):
                    await self._make_live(candidate)
            waiting = self._waiting.get(policy)
            if waiting is not None and not self._is_newer(waiting):
                del self._waiting[policy]

    def _by_policy(self, records: Sequence[Any]) -> dict[str, list[_Candidate]]:
        """Take in parts; return what may go live, with what waits for parts if some have come."""
        candidates: defaultdict[str, list[_Candidate]] = defaultdict(list)
        for record in records:
            try:
                if part := part_of(record.key):
                    if self._keep_part(*part, record.value) and part[0] in self._waiting:
                        candidates[part[0]] = candidates[part[0]] or [self._waiting[part[0]]]
                elif record.value is not None:
                    fields = avro.decode_as("snapshot", record.value)
                    found = _Candidate(fields["policy"], fields["version"], part_names(fields), record)
                    candidates[found.policy].append(found)
            except (PipelineError, ValueError) as error:
                self._refuse(record, error)
        return candidates

    def _keep_part(self, policy: str, name: str, part: bytes | None) -> bool:
        if part is None:
            self.parts[policy].pop(name, None)
        else:
            self.parts[policy][name] = part
        return part is not None

    def _is_newer(self, candidate: _Candidate) -> bool:
        live = self.snapshots.get(candidate.policy)
        return live is None or candidate.version > live.version

    async def _make_live(self, candidate: _Candidate) -> None:
        policy, version, names, record = candidate
        parts = {name: self.parts[policy][name] for name in names if name in self.parts[policy]}
        if len(parts) < len(names):
            waiting = self._waiting.get(policy)
            if waiting is None or waiting.version < version:
                self._waiting[policy] = candidate
                log.warning("snapshot-waits policy=%s version=%s missing=%s", policy, version, len(names) - len(parts))
            return
        try:
            # In a thread: parsing a large one would keep decisions waiting.
            snapshot = await asyncio.to_thread(load_snapshot, SnapshotContent(record.value, parts))
        except PipelineError as error:
            self._refuse(record, error)
            return
        self._published_at_ms[snapshot.policy] = record.timestamp
        self.snapshots[snapshot.policy] = snapshot
        log.info("snapshot-live policy=%s version=%s id=%s", snapshot.policy, snapshot.version, snapshot.id[:12])
        async with self._changed:
            self._changed.notify_all()
        if self._on_live is not None:
            await self._tell(self._on_live, snapshot)

    async def _tell(self, on_live: OnLive, snapshot: LoadedSnapshot) -> None:
        try:
            await on_live(snapshot)
        except Exception:  # whatever a listener does wrong, snapshots go on
            log.exception("snapshot-listener-failed policy=%s version=%s", snapshot.policy, snapshot.version)

    def _refuse(self, record: Any, error: Exception) -> None:
        self.refused += 1
        log.error("snapshot-refused partition=%s offset=%s error=%s", record.partition, record.offset, error)
