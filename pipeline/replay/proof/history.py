"""Read what was published of each policy: its lineage, and the snapshots that are asked for."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Mapping
from typing import Any

from pipeline.codec import avro
from pipeline.replay.proof.lineage import Lineage
from pipeline.stream.log.follow import TopicFollower
from pipeline.stream.log.snapshot_records import snapshots_in
from pipeline.stream.log.topics import SNAPSHOT_HISTORY, SNAPSHOTS
from pipeline.stream.security import Address

IsWanted = Callable[[Mapping[str, Any]], bool]


class PolicyHistory:
    """One policy's snapshots, as far as `snapshot-history` holds them."""

    def __init__(self, policy: str, is_wanted: IsWanted, last: int | None) -> None:
        self.lineage = Lineage(policy)
        self.newest: bytes | None = None
        """The last published."""
        self.wanted: deque[bytes] = deque(maxlen=last)
        """Those that were asked for, oldest first."""
        self._is_wanted = is_wanted

    def add(self, content: bytes, fields: Mapping[str, Any]) -> None:
        """Take the next record."""
        if self.lineage.add(content, fields):
            self.newest = content
            if self._is_wanted(fields):
                self.wanted.append(content)


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
    live = await _read(broker, SNAPSHOTS, lambda _content, _fields: None)
    chosen = {policy for policy in live if not policies or policy in policies}

    def take(content: bytes, fields: Mapping[str, Any]) -> None:
        policy = fields["policy"]
        if not policies or policy in policies:
            histories.setdefault(policy, PolicyHistory(policy, is_wanted, last)).add(content, fields)

    await _read(broker, SNAPSHOT_HISTORY, take)
    for policy in sorted(chosen):
        history = histories.setdefault(policy, PolicyHistory(policy, is_wanted, last))
        if history.newest is None:  # older than the history's retention
            history.add(live[policy], avro.decode_as("snapshot", live[policy]))
        history.lineage.check_live(live[policy])
    return dict(sorted(histories.items()))


async def _read(broker: Address, topic: str, take: Callable[[bytes, Mapping[str, Any]], None]) -> dict[str, bytes]:
    """Hand over each snapshot of a topic; return each policy's last."""
    last: dict[str, bytes] = {}
    follower = TopicFollower(broker, topic)
    try:
        await follower.start()
        async for records in follower.batches_to_end():
            for record, fields in snapshots_in(records):
                take(record.value, fields)
                last[fields["policy"]] = record.value
    finally:
        await follower.stop()
    return last
