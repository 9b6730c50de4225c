"""A round of records → the broker, by aiokafka's batch builder: one acknowledgement for a batch of records.

`send()` makes a future, a call and a lookup for each of them, four times what a record costs in a batch. Records of a
partition keep their order. A batch that the broker finds too large comes again one record at a time, so that only the
record at fault is refused.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from pipeline.codec.murmur2 import partitions_of
from pipeline.errors import UnavailableError
from pipeline.serve.delivery.frames import Parcel


class Round(NamedTuple):
    """What became of a round's records, by their places."""

    unsent: list[int]
    """Not acknowledged; in order."""
    refused: list[int]
    """The broker will never take them."""
    failure: BaseException | None
    """Why something is unsent."""


class _Batch(NamedTuple):
    topic: str
    partition: int
    builder: Any
    places: list[int]


async def send_round(producer: Any, parcels: Sequence[Parcel]) -> Round:
    """Send records and wait for their acknowledgements; a key's records go to one partition."""
    by_partition, unsent, failure = await _by_partition(producer, parcels)
    batches = _batches(producer, parcels, by_partition)
    refused: list[int] = []
    while batches:
        too_large: list[_Batch] = []
        for batch, result in zip(batches, await _acknowledged(producer, batches), strict=True):
            if isinstance(result, MessageSizeTooLargeError):
                if len(batch.places) > 1:
                    too_large += _one_by_one(producer, parcels, batch)
                else:
                    refused += batch.places
            elif result is not None:
                failure = result
                unsent += batch.places
        batches = too_large
    return Round(sorted(unsent), refused, failure)


async def _by_partition(
    producer: Any, parcels: Sequence[Parcel]
) -> tuple[dict[tuple[str, int], list[int]], list[int], BaseException | None]:
    """Return places by (topic, partition), and those of a topic that has none, with why."""
    of_topic: defaultdict[str, list[int]] = defaultdict(list)
    for place, parcel in enumerate(parcels):
        of_topic[parcel.topic].append(place)
    found: defaultdict[tuple[str, int], list[int]] = defaultdict(list)
    unsent: list[int] = []
    failure: BaseException | None = None
    for topic, places in of_topic.items():
        try:
            count = len(await producer.partitions_for(topic))
        except KafkaError as error:
            count, failure = 0, error
        if not count:
            unsent += places
            continue
        partitions = partitions_of([parcels[place].key for place in places], count)
        for place, partition in zip(places, partitions, strict=True):
            found[topic, partition].append(place)
    return found, unsent, failure


def _batches(producer: Any, parcels: Sequence[Parcel], by_partition: dict[tuple[str, int], list[int]]) -> list[_Batch]:
    """Return batches, the first ones of all partitions first: a partition takes one after the other."""
    numbered: list[tuple[int, _Batch]] = []
    for (topic, partition), places in by_partition.items():
        batch = _Batch(topic, partition, producer.create_batch(), [])
        number = 0
        numbered.append((number, batch))
        for place in places:
            _, key, value = parcels[place]
            if batch.builder.append(key=key, value=value, timestamp=None) is None:  # it is full
                batch = _Batch(topic, partition, producer.create_batch(), [])
                number += 1
                numbered.append((number, batch))
                batch.builder.append(key=key, value=value, timestamp=None)  # a batch takes one record of any size
            batch.places.append(place)
    return [batch for _, batch in sorted(numbered, key=lambda one: one[0])]


def _one_by_one(producer: Any, parcels: Sequence[Parcel], batch: _Batch) -> Iterable[_Batch]:
    for place in batch.places:
        alone = _Batch(batch.topic, batch.partition, producer.create_batch(), [place])
        alone.builder.append(key=parcels[place].key, value=parcels[place].value, timestamp=None)
        yield alone


async def _acknowledged(producer: Any, batches: Sequence[_Batch]) -> list[BaseException | None]:
    """Hand batches to the producer, up to the first that it doesn't take; return how each ended."""
    sent: list[asyncio.Future[Any]] = []
    refusal: KafkaError | None = None
    for topic, partition, builder, _ in batches:
        builder.close()
        try:
            acknowledged = await producer.send_batch(builder, topic, partition=partition)
        except KafkaError as error:
            refusal = error
            break
        acknowledged.add_done_callback(_noticed)
        sent.append(acknowledged)
    if sent:
        await asyncio.wait(sent)
    return [*map(_ending, sent), *[refusal] * (len(batches) - len(sent))]


def _ending(sent: asyncio.Future[Any]) -> BaseException | None:
    # aiokafka cancels what it holds as it loses a connection: that is no cancellation of whoever waits here.
    return UnavailableError("the producer let go of a batch") if sent.cancelled() else sent.exception()


def _noticed(sent: asyncio.Future[Any]) -> None:
    """Look at how a batch ended, where nobody waits any more: a stopping node, while the broker is away."""
    if not sent.cancelled():
        sent.exception()
