"""Read published snapshots."""

from __future__ import annotations

from typing import Any

from pipeline.codec import avro
from pipeline.errors import ConfigError
from pipeline.stream.follow import TopicFollower
from pipeline.stream.topics import SNAPSHOT_HISTORY, SNAPSHOTS


async def read_all(broker: str, topic: str) -> list[Any]:
    """Return every record of a topic up to its present end."""
    follower = TopicFollower(broker, topic)
    try:
        await follower.start()
        return list(await follower.read_to_end())
    finally:
        await follower.stop()


async def latest_snapshots(broker: str) -> dict[str, bytes]:
    """Return the latest snapshot of each policy."""
    latest: dict[str, tuple[int, bytes]] = {}
    for record in await read_all(broker, SNAPSHOTS):
        if record.value is not None:
            fields = avro.decode_as("snapshot", record.value)
            if fields["version"] >= latest.get(fields["policy"], (0, b""))[0]:
                latest[fields["policy"]] = (fields["version"], record.value)
    return {policy: content for policy, (_, content) in latest.items()}


async def find_snapshot(broker: str, policy: str, version: int | None) -> bytes:
    """Return one snapshot's bytes; the latest when no version is given.

    Raises:
        ConfigError: there is none.
    """
    if version is None:
        latest = await latest_snapshots(broker)
        if policy in latest:
            return latest[policy]
        raise ConfigError("snapshot", [f"policy {policy!r} has none; policies that do: {sorted(latest) or 'none'}"])
    versions = set()
    for record in await read_all(broker, SNAPSHOT_HISTORY):
        fields = avro.decode_as("snapshot", record.value)
        if fields["policy"] == policy:
            versions.add(fields["version"])
            if fields["version"] == version:
                content: bytes = record.value
                return content
    held = f"{min(versions)} to {max(versions)}" if versions else "none"
    raise ConfigError("snapshot", [f"policy {policy!r} has no version {version}; held are: {held}"])
