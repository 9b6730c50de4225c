"""Read the partitions of a topic from their start, or from given offsets, up to given ones."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from aiokafka import TopicPartition

from pipeline.codec.readable import Fields, readable
from pipeline.errors import StateError, UnavailableError
from pipeline.stream.log.follow import taken
from pipeline.stream.log.offsets import EARLIEST_MS, LATEST_MS
from pipeline.stream.log.passed_over import PassedOver
from pipeline.stream.log.reader import STILL_WITHIN_S, LogReader, open_reader
from pipeline.stream.log.topics import REWARDS
from pipeline.stream.security import Address

POLL_S = 0.5


async def read_ledger(
    broker: Address,
    ends: Mapping[int, int],
    *,
    stops: Sequence[Mapping[int, int]] = (),
    starts: Mapping[int, int] | None = None,
) -> AsyncIterator[tuple[int, Sequence[tuple[int, Fields]], int]]:
    """Yield (partition, offset and fields of its rewards, how many records there were), as `read_up_to` does.

    What is no reward is passed over, and told of.
    """
    tell = PassedOver(REWARDS)
    async for partition, records in read_up_to(broker, REWARDS, ends, stops=stops, starts=starts):
        pairs = ((record.offset, record.value) for record in records)
        rewards = [(offset, fields) for offset, _, fields in readable(partition, pairs, "reward", pass_over=tell)]
        yield partition, rewards, len(records)


async def read_up_to(
    broker: Address,
    topic: str,
    ends: Mapping[int, int],
    *,
    stops: Sequence[Mapping[int, int]] = (),
    starts: Mapping[int, int] | None = None,
) -> AsyncIterator[tuple[int, Sequence[Any]]]:
    """Yield (partition, records below its end), in offset order within a partition.

    Args:
        broker: bootstrap servers.
        topic: what is read.
        ends: by partition.
        stops: rising offsets by partition that all partitions come to in turn, before any is read much further.
        starts: by partition, where it is read from; the others from offset 0.

    Raises:
        StateError: a partition no longer holds where it is read from, or ends before its end.
        UnavailableError: no broker answers.
    """
    begun = starts or {}
    targets = {TopicPartition(topic, number): end for number, end in ends.items() if end > begun.get(number, 0)}
    if not targets:
        return
    has_come = asyncio.Event()
    async with open_reader(broker) as reader:
        await check_complete(reader, targets, begun)
        readings = [reader.begin(place, begun.get(place.partition, 0), has_come, asyncio.Event()) for place in targets]
        for stop in (*stops, ends):
            given_s = time.monotonic()
            while behind := [r for r in readings if r.taken < min(targets[r.partition], stop.get(r.partition[1], 0))]:
                has_come.clear()
                for batch in taken(behind):
                    given_s = time.monotonic()
                    end = ends[batch.partition]
                    if below := [record for record in batch.records if record.offset < end]:
                        yield batch.partition, below
                if time.monotonic() - given_s > STILL_WITHIN_S:
                    raise UnavailableError(f"topic {topic} gives nothing for {STILL_WITHIN_S:.0f} s")
                if not any(reading.has_waiting for reading in behind):
                    with suppress(TimeoutError):
                        await asyncio.wait_for(has_come.wait(), POLL_S)


async def check_complete(
    reader: LogReader, targets: Mapping[TopicPartition, int], starts: Mapping[int, int] | None = None
) -> None:
    """Raise StateError for a partition that no longer begins where it is read from, or ends before its target."""
    begins = await reader.offsets(targets, EARLIEST_MS)
    ends = await reader.offsets(targets, LATEST_MS)
    for partition, target in targets.items():
        start = (starts or {}).get(partition.partition, 0)
        if begins[partition] > start:
            raise StateError(
                f"{partition.topic}/{partition.partition} begins at offset {begins[partition]}, {start} is needed: "
                "what was deleted can't be recomputed. Give the topic unlimited retention, or begin at a checkpoint at "
                "or behind that offset: see --trust, and ops/runbooks/checkpoints.md"
            )
        if ends[partition] < target:
            raise StateError(
                f"{partition.topic}/{partition.partition} ends at offset {ends[partition]}, {target} is needed: "
                "records are missing at its end"
            )
