"""Read published snapshots."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from pipeline.errors import ConfigError
from pipeline.publish.outline import Kept
from pipeline.publish.parts import SnapshotContent, whole
from pipeline.replay.proof.parts import with_parts
from pipeline.stream.log.follow import TopicFollower
from pipeline.stream.log.snapshot_records import SnapshotReader
from pipeline.stream.log.topics import SNAPSHOT_HISTORY, SNAPSHOTS
from pipeline.stream.security import Address


class Published(NamedTuple):
    """A snapshot record as a topic has it."""

    id: str
    """Its content address."""
    record: bytes
    """Of an outline, one without parameters."""
    fields: Mapping[str, Any]
    """Decoded; without what is in parts."""
    published_at_ms: int
    """The broker's timestamp."""
    is_outline: bool = False
    """Whether its posteriors' parameters are not kept."""

    @property
    def kept(self) -> Kept:
        """The same, as proofs take it."""
        return Kept(self.id, self.record, self.fields, self.is_outline)


class Found(NamedTuple):
    """A snapshot with all there is to it."""

    id: str
    """Its content address."""
    content: SnapshotContent
    fields: Mapping[str, Any]
    """Decoded, with all posteriors in `segments`; of an outline without their parameters."""


async def read_published(broker: Address, topic: str, policy: str | None = None) -> list[Published]:
    """Return every snapshot record of a topic up to its present end, of one policy or of all; their parts not."""
    found, reader = [], SnapshotReader()
    follower = TopicFollower(broker, topic)
    try:
        await follower.start()
        async for records in follower.batches_to_end():
            for record, one in reader.read(records):
                if policy in (None, one.fields["policy"]):
                    at_ms = record.timestamp
                    found.append(Published(one.id, one.content, one.fields, at_ms, is_outline=one.is_outline))
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
    # What was sent again after a crash may be whole one time.
    found = [one for one in history if one.fields["version"] == version]
    if found:
        return min(found, key=lambda one: one.is_outline)
    versions = [one.fields["version"] for one in history]
    held = f"{min(versions)} to {max(versions)}" if versions else "none"
    raise ConfigError("snapshot", [f"policy {policy!r} has no version {version}; held are: {held}"])


async def find_snapshot(broker: Address, policy: str, version: int | None) -> Found:
    """Return one snapshot with its parts; the latest when no version is given.

    Raises:
        ConfigError: there is none. StateError: some of its parts have aged out, or are not kept.
    """
    published = await find_published(broker, policy, version)
    if published.is_outline and not published.fields["parts"]:
        return Found(published.id, SnapshotContent(published.record), published.fields)
    content = await with_parts(broker, published.record, published.fields)
    return Found(published.id, content, whole(content))


async def find_whole(broker: Address, policy: str, version: int | None) -> Found:
    """Return one snapshot with all there is to it, to be used again; the latest when no version is given.

    Raises:
        ConfigError: there is none, or it is kept as an outline. StateError: some of its parts have aged out.
    """
    if version is None:
        return await find_snapshot(broker, policy, None)
    history = await read_published(broker, SNAPSHOT_HISTORY, policy)
    kept_whole = sorted({one.fields["version"] for one in history if not one.is_outline})
    if version not in kept_whole and any(one.fields["version"] == version for one in history):
        before = [str(one) for one in kept_whole if one < version][-1:]
        after = [str(one) for one in kept_whole if one > version][:1]
        near = " and ".join(before + after)
        fault = f"version {version} of {policy!r} is kept as an outline, without its posteriors' parameters"
        raise ConfigError("snapshot", [f"{fault}; the nearest whole ones are {near}: use one of them"])
    return await find_snapshot(broker, policy, version)
