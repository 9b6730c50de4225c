"""Which version of each policy was published last, by what was published.

A version is used once (law 7), whatever becomes of PUBLISH's own state: a changelog that was lost, cut off or made anew
knows less than the topics do. So each time a partition is opened, the last snapshot of each of its policies is looked
for where it was sent: `snapshots` has the latest of each, and `snapshot-history` what may have been sent just before a
crash kept it from there.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

from aiokafka import TopicPartition

from pipeline.publish.parts import part_of
from pipeline.stream.log import topics
from pipeline.stream.log.identity import LogLookup
from pipeline.stream.log.outbox import Outbox
from pipeline.stream.state.changelog import ChangelogReader

FindPublished = Callable[[int], Awaitable[Mapping[str, bytes]]]
"""Partition of `statistics` → the last snapshot record of each policy, by its name."""

EARLIER_MS = 600_000
"""`snapshot-history` is read from so long before the last record of `snapshots`: brokers' clocks differ."""


async def none_published(_number: int) -> Mapping[str, bytes]:
    """Find nothing."""
    return {}


async def last_published(outbox: Outbox, number: int) -> dict[str, bytes]:
    """Return the last snapshot record of each policy that hashes to a partition of `statistics`.

    Raises:
        UnavailableError: the broker stopped answering.
    """
    found: dict[str, bytes] = {}
    latest_ms: dict[int, int] = {}
    for topic in (topics.SNAPSHOTS, topics.SNAPSHOT_HISTORY):
        for partition in await _partitions(outbox, topic, number):
            since_ms = latest_ms.get(partition.partition) if topic == topics.SNAPSHOT_HISTORY else None
            async for record in _records(outbox, partition, since_ms):
                latest_ms[partition.partition] = max(latest_ms.get(partition.partition, 0), record.timestamp)
                if record.value is not None and record.key and not part_of(record.key):
                    # Under a key that is no name of ours, somebody else's.
                    found[record.key.decode(errors="replace")] = record.value
    count = await outbox.partition_count(topics.STATISTICS)
    return {policy: value for policy, value in found.items() if topics.partition_for(policy, count) == number}


async def _partitions(outbox: Outbox, topic: str, number: int) -> list[TopicPartition]:
    """Return where the policies of a partition of `statistics` may lie: mostly in that of the same number."""
    count = await outbox.partition_count(topic)
    same = count == await outbox.partition_count(topics.STATISTICS)
    return [TopicPartition(topic, each) for each in ([number] if same else range(count))]


async def _records(outbox: Outbox, partition: TopicPartition, since_ms: int | None) -> AsyncIterator[Any]:
    lookup = LogLookup(outbox.client)
    log = await lookup.log(partition)
    start = log.first_offset if since_ms is None else await lookup.offset_at(partition, log, since_ms - EARLIER_MS)
    if start >= log.end_offset:
        return
    async for batches in ChangelogReader(outbox.client, *partition).read(start, log.end_offset - 1):
        for batch in batches:
            for record in batch:
                yield record
