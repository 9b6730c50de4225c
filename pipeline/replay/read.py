"""Read the partitions of a topic from their start up to given offsets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from pipeline.errors import StateError, UnavailableError


async def read_up_to(
    broker: str, topic: str, ends: Mapping[int, int], **security: Any
) -> AsyncIterator[tuple[int, Sequence[Any]]]:
    """Yield (partition, records below its end), in offset order within a partition.

    Raises:
        StateError: a partition no longer begins at offset 0, or ends before its end.
        UnavailableError: no broker answers.
    """
    targets = {TopicPartition(topic, number): end for number, end in ends.items() if end > 0}
    if not targets:
        return
    consumer = AIOKafkaConsumer(
        bootstrap_servers=broker, group_id=None, enable_auto_commit=False, auto_offset_reset="earliest", **security
    )
    try:
        await consumer.start()
    except KafkaError as error:
        raise UnavailableError(f"no broker answers at {broker}: {error}") from error
    try:
        consumer.assign(list(targets))
        await _check_complete(consumer, targets)
        await consumer.seek_to_beginning()
        open_partitions = set(targets)
        while open_partitions:
            fetched = await consumer.getmany(*open_partitions, timeout_ms=500)
            for partition, records in fetched.items():
                below = [record for record in records if record.offset < targets[partition]]
                if below:
                    yield partition.partition, below
            open_partitions = {p for p in open_partitions if await consumer.position(p) < targets[p]}
    finally:
        await consumer.stop()


async def _check_complete(consumer: AIOKafkaConsumer, targets: Mapping[TopicPartition, int]) -> None:
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
