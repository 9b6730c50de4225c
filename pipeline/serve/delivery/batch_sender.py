"""A round of records → the broker, by aiokafka's batch builder: one acknowledgement for a batch of records.

`send()` makes a future, a call and a lookup for each of them, four times what a record costs in a batch. Records of a
partition keep their order. A batch that the broker finds too large comes again one record at a time, so that only the
record at fault is refused. What became of a round is told by partition: one that takes nothing says nothing of the
others.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from pipeline.codec.murmur2 import partitions_of
from pipeline.errors import UnavailableError
from pipeline.serve.delivery.frames import Parcel

Destination = tuple[str, int]
"""Topic and partition."""
# A round waits for its acknowledgement; what comes meanwhile makes the next one.
ROUND_RECORDS = 2_000
ROUND_BYTES = 2 << 20
NO_PARTITION = -1
"""Of a topic that the broker tells no partitions of."""


class Round:
    """A round's records by what became of them; `wait` brings it up to date."""

    def __init__(self, parcels: Sequence[Parcel]) -> None:
        self.delivered: list[Parcel] = []
        """Acknowledged."""
        self.refused: list[Parcel] = []
        """The broker will never take them."""
        self.unsent: dict[Destination, list[Parcel]] = {}
        """Not acknowledged, in order, by where they go."""
        self.failures: dict[Destination, BaseException] = {}
        """Why they are not."""
        self.passed_by: dict[Destination, list[Parcel]] = {}
        """Not tried, as was asked."""
        self._parcels = parcels
        self._flying: dict[asyncio.Future[Any], _Batch] = {}
        self._ended: list[asyncio.Future[Any]] = []
        """Those of them that have come to an end: looked at together, since a round has dozens."""
        self._has_ended = asyncio.Event()
        self._next: defaultdict[Destination, deque[_Batch]] = defaultdict(deque)
        """Batches that follow when those before them are acknowledged: a producer has one of a partition in flight, and
        keeps whoever brings another waiting."""

    @property
    def failure(self) -> BaseException | None:
        """Why something is unsent, if it is."""
        return next(iter(self.failures.values()), None)

    @property
    def is_over(self) -> bool:
        """Whether it is known of every record what became of it."""
        return not self._flying

    def flying(self) -> Iterator[tuple[Destination, asyncio.Future[Any], list[Parcel]]]:
        """Give the batches that are neither acknowledged nor refused yet."""
        for sent, batch in self._flying.items():
            yield batch.destination, sent, self._parcels_of(batch)

    def left(self) -> Iterator[tuple[Destination, list[Parcel]]]:
        """Give the records that were not sent, and those that wait for others of their partition."""
        yield from self.unsent.items()
        for destination, batches in self._next.items():
            if not batches:
                continue
            yield destination, [parcel for batch in batches for parcel in self._parcels_of(batch)]

    async def wait(self, producer: Any, within_s: float | None = None) -> None:
        """Wait until every batch has come to an end, or for so long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while self._flying:
                    await self._has_ended.wait()
                    self._has_ended.clear()
                    ended, self._ended = self._ended, []
                    for sent in ended:
                        batch = self._flying.pop(sent)
                        self._settle(batch, _ending(sent), producer)
                        await self._fly_next(producer, batch.destination)

    async def begin(self, producer: Any, batches: Iterable[_Batch]) -> None:
        """Hand the first batch of each partition to the producer."""
        for batch in batches:
            self._next[batch.destination].append(batch)
        for destination in list(self._next):
            await self._fly_next(producer, destination)

    def fail(self, destination: Destination, parcels: Iterable[Parcel], failure: BaseException) -> None:
        """Note that records were not acknowledged."""
        self.failures.setdefault(destination, failure)
        self.unsent.setdefault(destination, []).extend(parcels)

    async def _fly_next(self, producer: Any, destination: Destination) -> None:
        batches = self._next[destination]
        while batches:
            batch = batches.popleft()
            failure = self.failures.get(destination)
            if failure is None:
                batch.builder.close()
                try:
                    sent = await producer.send_batch(batch.builder, batch.topic, partition=batch.partition)
                except KafkaError as error:
                    failure = error
                else:
                    sent.add_done_callback(self._note)
                    self._flying[sent] = batch
                    return
            self.fail(destination, self._parcels_of(batch), failure)

    def _note(self, sent: asyncio.Future[Any]) -> None:
        self._ended.append(sent)
        self._has_ended.set()
        if not sent.cancelled():
            sent.exception()  # which counts as looked at where nobody waits any more: a stopping node, without a broker

    def _settle(self, batch: _Batch, result: BaseException | None, producer: Any) -> None:
        """Note how a batch ended."""
        parcels = self._parcels_of(batch)
        if result is None:
            self.delivered += parcels
        elif not isinstance(result, MessageSizeTooLargeError):
            self.fail(batch.destination, parcels, result)
        elif len(parcels) > 1:
            self._next[batch.destination].extendleft(reversed(_one_by_one(producer, self._parcels, batch)))
        else:
            self.refused += parcels

    def _parcels_of(self, batch: _Batch) -> list[Parcel]:
        return [self._parcels[number] for number in batch.numbers]


class _Batch(NamedTuple):
    topic: str
    partition: int
    builder: Any
    numbers: list[int]
    """Of its records in the round."""

    @property
    def destination(self) -> Destination:
        """Where it goes."""
        return self.topic, self.partition


async def send_round(producer: Any, parcels: Sequence[Parcel], stuck: Container[Destination] = ()) -> Round:
    """Send records, but for those of `stuck` places; a key's records go to one partition. Then `wait`."""
    sending = Round(parcels)
    by_destination = await _by_destination(producer, parcels, sending, stuck)
    for destination in [each for each in by_destination if each in stuck]:
        sending.passed_by[destination] = [parcels[number] for number in by_destination.pop(destination)]
    await sending.begin(producer, _batches(producer, parcels, by_destination))
    return sending


async def _by_destination(
    producer: Any, parcels: Sequence[Parcel], sending: Round, stuck: Container[Destination]
) -> dict[Destination, list[int]]:
    """Return the numbers of records by where they go; those of a topic that has no partitions have failed."""
    of_topic: defaultdict[str, list[int]] = defaultdict(list)
    for number, parcel in enumerate(parcels):
        of_topic[parcel.topic].append(number)
    found: defaultdict[Destination, list[int]] = defaultdict(list)
    for topic, numbers in of_topic.items():
        if (topic, NO_PARTITION) in stuck:  # to ask again would keep the others waiting
            found[topic, NO_PARTITION] = numbers
            continue
        failure: BaseException = UnavailableError(f"{topic} has no partitions")
        try:
            count = len(await producer.partitions_for(topic))
        except KafkaError as error:
            count, failure = 0, error
        if not count:
            sending.fail((topic, NO_PARTITION), [parcels[number] for number in numbers], failure)
            continue
        partitions = partitions_of([parcels[number].key for number in numbers], count)
        for number, partition in zip(numbers, partitions, strict=True):
            found[topic, partition].append(number)
    return found


def _batches(producer: Any, parcels: Sequence[Parcel], wanted: Mapping[Destination, list[int]]) -> Iterator[_Batch]:
    for (topic, partition), numbers in wanted.items():
        batch = _Batch(topic, partition, producer.create_batch(), [])
        for number in numbers:
            _, key, value = parcels[number]
            if batch.builder.append(key=key, value=value, timestamp=None) is None:  # it is full
                yield batch
                batch = _Batch(topic, partition, producer.create_batch(), [])
                batch.builder.append(key=key, value=value, timestamp=None)  # a batch takes one record of any size
            batch.numbers.append(number)
        yield batch


def _one_by_one(producer: Any, parcels: Sequence[Parcel], batch: _Batch) -> list[_Batch]:
    found = []
    for number in batch.numbers:
        alone = _Batch(batch.topic, batch.partition, producer.create_batch(), [number])
        alone.builder.append(key=parcels[number].key, value=parcels[number].value, timestamp=None)
        found.append(alone)
    return found


def _ending(sent: asyncio.Future[Any]) -> BaseException | None:
    # aiokafka cancels what it holds as it loses a connection: that is no cancellation of whoever waits here.
    return UnavailableError("the producer let go of a batch") if sent.cancelled() else sent.exception()
