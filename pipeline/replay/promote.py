"""What promoting a replayed generation would change, and whether the publisher is ready for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from pipeline.errors import UnavailableError
from pipeline.policy.definition import PolicyDefinition
from pipeline.publish.snapshot import snapshot_fields
from pipeline.replay.proof.diff import SnapshotDiff, diff_snapshots
from pipeline.replay.recounting.base import FoundBase
from pipeline.stream.log.follow import TopicFollower
from pipeline.stream.log.reader import open_reader
from pipeline.stream.log.snapshot_records import SnapshotReader
from pipeline.stream.log.topics import SNAPSHOTS, STATISTICS, partition_for
from pipeline.stream.security import Address, client_options

POLL_S = 0.1


def preview(live: Mapping[str, Any], live_id: str, found: FoundBase, definition: PolicyDefinition) -> SnapshotDiff:
    """Return what would change if a base were published by a definition in place of the live snapshot, given whole."""
    after = snapshot_fields(
        definition,
        found.rows,
        {},
        version=live["version"] + 1,
        parent=live_id,
        base=found.base,
    )
    return diff_snapshots(live, after)


async def wait_until_taken_in(broker: Address, app_id: str, policy: str, found: FoundBase, within_s: float) -> None:
    """Wait until the publisher holds a base: it has acknowledged the record, so whoever takes over holds it too.

    Raises:
        UnavailableError: it does not come to it.
    """
    consumer = AIOKafkaConsumer(**client_options(broker), group_id=app_id, enable_auto_commit=False)
    try:
        await consumer.start()
        async with open_reader(broker) as reader:
            count = len(await reader.partitions_of(STATISTICS))
        tp = TopicPartition(STATISTICS, partition_for(policy, count))
        deadline = time.monotonic() + within_s
        while (await consumer.committed(tp) or 0) <= found.offset:
            if time.monotonic() > deadline:
                raise UnavailableError(
                    f"the publisher of {policy!r} has not read {STATISTICS}/{tp.partition} up to offset {found.offset} "
                    f"in {within_s:.0f} s, so nothing was promoted: is a worker of --app-id {app_id} running?"
                )
            await asyncio.sleep(POLL_S)
    except KafkaError as error:
        raise UnavailableError(f"group {app_id} can't be asked for its offsets: {error!r}") from error
    finally:
        await consumer.stop()


async def wait_until_published(broker: Address, policy: str, generation: int, within_s: float) -> int | None:
    """Return the version that is published under a generation; None if none is in time."""
    follower = TopicFollower(broker, SNAPSHOTS)
    deadline = time.monotonic() + within_s
    try:
        await follower.start()
        while time.monotonic() < deadline:
            for _, one in SnapshotReader().read(await follower.poll()):
                fields = one.fields
                if fields["policy"] == policy and fields["generation"] == generation:
                    version: int = fields["version"]
                    return version
    finally:
        await follower.stop()
    return None
