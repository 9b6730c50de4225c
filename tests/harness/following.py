"""A follower of snapshots, as a serving node has one, and everything that it ever had live."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from pipeline.serve.following.follower import SnapshotFollower
from pipeline.serve.following.snapshot import LoadedSnapshot


class Live(NamedTuple):
    """A snapshot that was live."""

    policy: str
    version: int
    id: str


class Following:
    """What a follower saw."""

    def __init__(self, broker: str) -> None:
        self.seen: list[Live] = []
        self.follower = SnapshotFollower(broker, self._on_live)

    async def _on_live(self, snapshot: LoadedSnapshot) -> None:
        self.seen.append(Live(snapshot.policy, snapshot.version, snapshot.id))

    def versions(self, policy: str) -> list[int]:
        """Return the versions of a policy in the order in which they were live."""
        return [live.version for live in self.seen if live.policy == policy]


@asynccontextmanager
async def following(broker: str) -> AsyncIterator[Following]:
    """Follow until the end of the block."""
    one = Following(broker)
    task = asyncio.create_task(one.follower.follow())
    try:
        yield one
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
