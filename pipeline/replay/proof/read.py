"""Read the partitions of a topic from their start up to given offsets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from pipeline.errors import StateError, UnavailableError
from pipeline.stream.security import Address, client_options


async def read_up_to(
    broker: Address, topic: str, ends: Mapping[int, int], *, stops: Sequence[Mapping[int, int]] = ()
) -> AsyncIterator[tuple[int, Sequence[Any]]]:
    """Yield (partition, records below its end), in offset order within a partition.

    Args:
        broker: bootstrap servers.
        topic: its partitions are read from their start.
        ends: by partition.
        stops: rising offsets by partition that all partitions come to in turn, before any is read much further.

    Raises:
        StateError: a partition no longer begins at offset 0, or ends before its end.
        UnavailableError: no broker answers.
    """
    targets = {TopicPartition(topic, number): end for number, end in ends.items() if end > 0}
    if not targets:
        return
    consumer = AIOKafkaConsumer(
        **client_options(broker), group_id=None, enable_auto_commit=False, auto_offset_reset="earliest"
    )
    try:
        await consumer.start()
    except KafkaError as error:
        raise UnavailableError(f"no broker answers at {broker}: {error}") from error
    try:
        consumer.assign(list(targets))
        await check_complete(consumer, targets)
        await consumer.seek_to_beginning()
        for stop in (*stops, ends):
            upto = {p: min(end, stop.get(p.partition, 0)) for p, end in targets.items()}
            while open_partitions := [p for p, end in upto.items() if await consumer.position(p) < end]:
                fetched = await consumer.getmany(*open_partitions, timeout_ms=500)
                for partition, records in fetched.items():
                    below = [record for record in records if record.offset < targets[partition]]
                    if below:
                        yield partition.partition, below
    finally:
        await consumer.stop()


async def check_complete(consumer: AIOKafkaConsumer, targets: Mapping[TopicPartition, int]) -> None:
    """Raise StateError for a partition that no longer begins at offset 0, or ends before its target."""
    begins = await consumer.beginning_offsets(list(targets))
    ends = await consumer.end_offsets(list(targets))
    for partition, target in targets.items():
        if begins[partition] > 0:
            raise StateError(
                f"{partition.topic}/{partition.partition} begins at offset {begins[partition]}, 0 is needed: what was "
                "deleted can't be recomputed. Give the topic unlimited retention"
            )
        if ends[partition] < target:
            raise StateError(
                f"{partition.topic}/{partition.partition} ends at offset {ends[partition]}, {target} is needed: "
                "records are missing at its end"
            )
