"""Read published snapshots."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from pipeline.errors import ConfigError
from pipeline.publish.parts import SnapshotContent, whole
from pipeline.publish.snapshot import snapshot_id
from pipeline.replay.proof.parts import with_parts
from pipeline.stream.log.follow import TopicFollower
from pipeline.stream.log.snapshot_records import snapshots_in
from pipeline.stream.log.topics import SNAPSHOT_HISTORY, SNAPSHOTS
from pipeline.stream.security import Address


class Published(NamedTuple):
    """A snapshot record as a topic has it."""

    record: bytes
    fields: Mapping[str, Any]
    """Decoded; without what is in parts."""
    published_at_ms: int
    """The broker's timestamp."""

    @property
    def id(self) -> str:
        """Its content address."""
        return snapshot_id(self.record)


class Found(NamedTuple):
    """A snapshot with all there is to it."""

    content: SnapshotContent
    fields: Mapping[str, Any]
    """Decoded, with all posteriors in `segments`."""

    @property
    def id(self) -> str:
        """Its content address."""
        return snapshot_id(self.content.record)


async def read_published(broker: Address, topic: str, policy: str | None = None) -> list[Published]:
    """Return every snapshot record of a topic up to its present end, of one policy or of all; their parts not."""
    found = []
    follower = TopicFollower(broker, topic)
    try:
        await follower.start()
        async for records in follower.batches_to_end():
            for record, fields in snapshots_in(records):
                if policy in (None, fields["policy"]):
                    found.append(Published(record.value, fields, record.timestamp))
    finally:
        await follower.stop()
    return found


async def find_published(broker: Address, policy: str, version: int | None) -> Published:
    """Return one snapshot's record; that of the latest when no version is given.

    Raises:
        ConfigError: there is none.
    """
    if version is None:
        latest = await read_published(broker, SNAPSHOTS)
        of_policy = [one for one in latest if one.fields["policy"] == policy]
        if of_policy:
            return max(of_policy, key=lambda one: one.fields["version"])
        known = sorted({one.fields["policy"] for one in latest})
        raise ConfigError("snapshot", [f"policy {policy!r} has none; policies that do: {known or 'none'}"])
    history = await read_published(broker, SNAPSHOT_HISTORY, policy)
    for one in history:
        if one.fields["version"] == version:
            return one
    versions = [one.fields["version"] for one in history]
    held = f"{min(versions)} to {max(versions)}" if versions else "none"
    raise ConfigError("snapshot", [f"policy {policy!r} has no version {version}; held are: {held}"])


async def find_snapshot(broker: Address, policy: str, version: int | None) -> Found:
    """Return one snapshot with its parts; the latest when no version is given.

    Raises:
        ConfigError: there is none. StateError: some of its parts have aged out.
    """
    published = await find_published(broker, policy, version)
    content = await with_parts(broker, published.record, published.fields)
    return Found(content, whole(content))
