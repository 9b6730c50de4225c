"""Find the parts of large snapshots again: in `snapshots` those of the live ones, in `snapshot-history` the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.errors import StateError
from pipeline.publish.parts import SnapshotContent, part_names, part_of
from pipeline.stream.log.follow import TopicFollower
from pipeline.stream.log.topics import SNAPSHOT_HISTORY, SNAPSHOTS
from pipeline.stream.security import Address


async def find_parts(broker: Address, names: Sequence[str]) -> dict[str, bytes]:
    """Return the parts of these names that either topic still has.

    Raises:
        UnavailableError: no broker answers.
    """
    missing = set(names)
    found: dict[str, bytes] = {}
    for topic in (SNAPSHOTS, SNAPSHOT_HISTORY):
        if missing:
            found |= await _read(broker, topic, missing)
            missing -= found.keys()
    return found


async def with_parts(broker: Address, record: bytes, fields: Mapping[str, Any]) -> SnapshotContent:
    """Return a snapshot record, which decodes to `fields`, with all of its parts.

    Raises:
        StateError: some have aged out. UnavailableError: no broker answers.
    """
    names = part_names(fields)
    found = await find_parts(broker, names)
    if missing := [name for name in names if name not in found]:
        raise StateError(
            f"{len(missing)} of {len(names)} parts of {fields['policy']} version {fields['version']} are in neither "
            f"{SNAPSHOTS} nor {SNAPSHOT_HISTORY}, the first is {missing[0]}: they have aged out; choose a later version"
        )
    return SnapshotContent(record, found)


async def _read(broker: Address, topic: str, names: set[str]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    follower = TopicFollower(broker, topic)
    try:
        await follower.start()
        async for records in follower.batches_to_end():
            for record in records:
                part = part_of(record.key)
                if part and record.value is not None and part[1] in names:
                    found[part[1]] = record.value
    finally:
        await follower.stop()
    return found
