"""Read what was published of each policy: its lineage, and the snapshots that are asked for."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Mapping
from typing import Any

from pipeline.publish.outline import Kept
from pipeline.replay.proof.lineage import Lineage
from pipeline.stream.log.follow import TopicFollower
from pipeline.stream.log.snapshot_records import SnapshotReader
from pipeline.stream.log.topics import SNAPSHOT_HISTORY, SNAPSHOTS
from pipeline.stream.security import Address

IsWanted = Callable[[Mapping[str, Any]], bool]


class PolicyHistory:
    """One policy's snapshots, as far as `snapshot-history` holds them."""

    def __init__(self, policy: str, is_wanted: IsWanted, last: int | None) -> None:
        self.lineage = Lineage(policy)
        self.newest: Kept | None = None
        """The last published."""
        self.wanted: deque[Kept] = deque(maxlen=last)
        """Those that were asked for, oldest first."""
        self._is_wanted = is_wanted

    def add(self, one: Kept) -> None:
        """Take the next record."""
        if self.lineage.add(one):
            self.newest = one
            if self._is_wanted(one.fields):
                self.wanted.append(one)


async def read_history(
    broker: Address, policies: Collection[str], is_wanted: IsWanted, last: int | None = None
) -> dict[str, PolicyHistory]:
    """Read all that was published, of some policies or of all when none is named.

    Args:
        broker: bootstrap servers.
        policies: names.
        is_wanted: which snapshots to keep.
        last: how many of the newest of those.

    Raises:
        UnavailableError: no broker answers.
    """
    histories: dict[str, PolicyHistory] = {}
    # The live ones first: what is published meanwhile is then in the history, not the other way round.
    live = await _read(broker, SNAPSHOTS, lambda _: None)
    chosen = {policy for policy in live if not policies or policy in policies}

    def take(one: Kept) -> None:
        policy = one.fields["policy"]
        if not policies or policy in policies:
            histories.setdefault(policy, PolicyHistory(policy, is_wanted, last)).add(one)

    await _read(broker, SNAPSHOT_HISTORY, take)
    for policy in sorted(chosen):
        history = histories.setdefault(policy, PolicyHistory(policy, is_wanted, last))
        if history.newest is None:  # older than the history's retention
            history.add(live[policy])
        history.lineage.check_live(live[policy].content)
    return dict(sorted(histories.items()))


async def _read(broker: Address, topic: str, take: Callable[[Kept], None]) -> dict[str, Kept]:
    """Hand over each snapshot of a topic; return each policy's last."""
    last: dict[str, Kept] = {}
    reader = SnapshotReader()
    follower = TopicFollower(broker, topic)
    try:
        await follower.start()
        async for records in follower.batches_to_end():
            for _, one in reader.read(records):
                take(one)
                last[one.fields["policy"]] = one
    finally:
        await follower.stop()
    return last
