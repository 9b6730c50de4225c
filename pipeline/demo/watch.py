"""What comes of a play: the ledger, snapshots and dead letters, followed while it runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any, NamedTuple, Self

from pipeline.codec import avro
from pipeline.demo.recount import ArmKey, Recount, Total, snapshot_totals
from pipeline.publish.parts import part_of
from pipeline.publish.snapshot import snapshot_id
from pipeline.stream.log.follow import TopicFollower
from pipeline.stream.log.topics import DEAD_LETTERS, REWARDS, SNAPSHOTS


class Published(NamedTuple):
    """One snapshot."""

    content: bytes
    """The record."""
    policy: str
    version: int
    posterior_sha256: str
    ledger_offsets: dict[int, int]
    """Ledger partition → next offset that is not in."""
    totals: dict[ArmKey, Total]
    """What it counts."""

    def identity(self) -> dict[str, str | int]:
        """Return what names it."""
        return {
            "policy": self.policy,
            "version": self.version,
            "id": snapshot_id(self.content),
            "posterior_sha256": self.posterior_sha256,
        }


class Watch:
    """A policy's ledger, latest snapshot and dead letters."""

    def __init__(self, broker: str, policy: str, on_snapshot: Callable[[Published], None] | None = None) -> None:
        self.policy = policy
        self.recount = Recount(policy)
        self.latest: Published | None = None
        """The snapshot of the highest version."""
        self.dead_letters = 0
        """Records of `dead-letters`."""
        self.rejected: dict[tuple[str, int, int], str] = {}
        """(topic, partition, offset) of every record refused → why."""
        self._on_snapshot = on_snapshot
        self._takers = {
            TopicFollower(broker, REWARDS): self._take_reward,
            TopicFollower(broker, SNAPSHOTS): self._take_snapshot,
            TopicFollower(broker, DEAD_LETTERS): self._take_dead_letter,
        }
        self._started = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            for follower in self._takers:
                await follower.start()
                stack.push_async_callback(follower.stop)
            self._started = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._started.aclose()

    async def follow(self) -> None:
        """Keep up until cancelled."""
        await asyncio.gather(*(self._follow(follower, take) for follower, take in self._takers.items()))

    @property
    def is_complete(self) -> bool:
        """Whether the latest snapshot counts just what the ledger says so far."""
        return self.latest is not None and self.latest.totals == self.recount.totals()

    @property
    def counted(self) -> int:
        """How many decisions the latest snapshot counts."""
        return 0 if self.latest is None else sum(total.decisions for total in self.latest.totals.values())

    def refusals(self) -> str:
        """Say what was refused, in words; the first of it stands for all."""
        if not self.rejected:
            return "nothing was refused"
        (topic, partition, offset), why = next(iter(self.rejected.items()))
        return f"{len(self.rejected)} records were refused, the first is {topic}/{partition}@{offset}: {why}"

    async def _follow(self, follower: TopicFollower, take: Callable[[Any], None]) -> None:
        while True:
            for record in await follower.poll():
                take(record)
            # A backlog is polled without waiting: let the others have their turn.
            await asyncio.sleep(0)

    def _take_reward(self, record: Any) -> None:
        self.recount.take(record.partition, record.offset, avro.decode_as("reward", record.value))

    def _take_snapshot(self, record: Any) -> None:
        if part_of(record.key):
            return
        fields = avro.decode_as("snapshot", record.value)
        if fields["policy"] != self.policy or (self.latest is not None and fields["version"] <= self.latest.version):
            return
        self.latest = Published(
            content=record.value,
            policy=fields["policy"],
            version=fields["version"],
            posterior_sha256=fields["posterior_sha256"],
            ledger_offsets={entry["partition"]: entry["offset"] for entry in fields["ledger_offsets"]},
            totals=snapshot_totals(fields),
        )
        if self._on_snapshot is not None:
            self._on_snapshot(self.latest)

    def _take_dead_letter(self, record: Any) -> None:
        fields = avro.decode_as("dead_letter", record.value)
        self.dead_letters += 1
        source = (fields["source_topic"], fields["source_partition"], fields["source_offset"])
        self.rejected[source] = f"{fields['reason']}: {fields['detail']}"
