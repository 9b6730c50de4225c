"""Deliver records, and return only when the broker has acknowledged them.

Records go out through aiokafka's batch builder: one call, one future and one acknowledgement for a batch,
where `send()` costs each of them for a record.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, NoReturn

from aiokafka import AIOKafkaProducer
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import InvalidProducerEpoch, KafkaError, KafkaTimeoutError, ProducerClosed, ProducerFenced

from pipeline.errors import PipelineError, StateError, UnavailableError
from pipeline.stream.failpoints import Reach, pass_by
from pipeline.stream.log.claim import Claim, fenced
from pipeline.stream.log.topics import MAX_BATCH_BYTES
from pipeline.stream.refusals import unavailable
from pipeline.stream.security import Address, client_options

# Room for the record headers of a batch below the topics' max.message.bytes.
BUILDER_BYTES = MAX_BATCH_BYTES - (64 << 10)


class Record(NamedTuple):
    """A record to deliver."""

    topic: str
    partition: int
    key: bytes
    value: bytes | None
    """None is a tombstone."""


Headers = Sequence[tuple[str, bytes]]
"""Beside a record's key and value."""
Place = tuple[str, int]
"""A partition of a topic."""
Outgoing = Mapping[Place, Sequence[tuple[bytes, bytes | None]]]
"""(topic, partition) → (key, value) records, in order."""


class Outbox:
    """One idempotent producer; with an `owner`, the only one of that name whose records the broker takes."""

    def __init__(self, broker: Address, owner: str | None = None, reach: Reach = pass_by) -> None:
        self._broker = broker
        self._owner = owner
        self._reach = reach
        self._producer: AIOKafkaProducer = None  # made by `start`: aiokafka wants a running loop
        self._claim: Claim | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._sending: set[asyncio.Task[None]] = set()
        self._partition_counts: dict[str, int] = {}

    async def start(self) -> None:
        """Connect, and claim the owner's name.

        Raises:
            UnavailableError: no broker answers.
        """
        self._producer = AIOKafkaProducer(
            **client_options(self._broker),
            enable_idempotence=True,
            acks="all",
            max_batch_size=BUILDER_BYTES,
            max_request_size=2 * MAX_BATCH_BYTES,
        )
        try:
            await self._producer.start()
        except KafkaError as error:
            await self._producer.stop()
            raise unavailable(f"no broker answers at {self._broker}", error, "IdempotentWrite") from error
        if self._owner is not None:
            self._claim = Claim(self._producer, self._owner)
            await self._claim.take()

    @property
    def epoch(self) -> str:
        """The claim as `producer id/epoch`, for people."""
        return "" if self._claim is None else "{}/{}".format(*self._claim.epoch)

    @property
    def client(self) -> AIOKafkaClient:
        """The connection, to ask the same brokers for other things."""
        return self._producer.client

    async def stop(self) -> None:
        """Disconnect, if it ever was connected; what nobody waits for any more is given up."""
        tasks = [*self._sending, *([] if self._keeping is None else [self._keeping])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._producer is not None:
            await _let_go(self._producer)

    async def partition_count(self, topic: str) -> int:
        """Return how many partitions a topic has.

        Raises:
            UnavailableError: the broker does not tell.
        """
        if topic not in self._partition_counts:
            try:
                self._partition_counts[topic] = len(await self._producer.partitions_for(topic))
            except KafkaError as error:
                raise unavailable(f"the partitions of {topic} are not told", error, "Describe", topic) from error
        return self._partition_counts[topic]

    async def deliver(self, records: Iterable[Record], headers: Headers = ()) -> None:
        """Do `deliver_all` with records one by one."""
        await self.deliver_all(by_partition(records), headers)

    async def deliver_all(self, outgoing: Outgoing, headers: Headers = ()) -> None:
        """Send records, in order within each partition, and wait until all are acknowledged.

        Args:
            outgoing: where they go.
            headers: of every one of them.

        Raises:
            UnavailableError: not acknowledged; some may have been written.
        """
        sent = []
        for (topic, partition), group in outgoing.items():
            sent.extend([await self._send(builder, topic, partition) for builder in self._build(topic, group, headers)])
        self._reach("outputs-sent")
        await self._acknowledged(sent)

    def send_each(self, outgoing: Outgoing) -> dict[Place, asyncio.Future[None]]:
        """Do `deliver_all` for each partition by itself: return by partition what ends when it has acknowledged.

        Of what is under way for a partition, the caller waits for the end before it sends more there.
        """
        sent: dict[Place, asyncio.Future[None]] = {}
        for place, group in outgoing.items():
            sent[place] = task = asyncio.create_task(self.deliver_all({place: group}))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)
        return sent

    async def deliver_atomically(self, topic: str, partition: int, rows: Mapping[bytes, bytes | None]) -> int:
        """Send rows as one record batch, which the broker appends whole or not at all; return the last offset.

        Raises:
            StateError: more than a record batch holds. FencedError: another has claimed the owner's name.
            UnavailableError: not acknowledged.
        """
        if self._claim is not None:
            await self._keep(self._claim, topic, partition)
        builders = self._build(topic, rows.items())
        if len(builders) != 1:
            size = sum(len(key) + len(value or b"") for key, value in rows.items())
            raise StateError(f"a step of {len(rows)} rows and {size} bytes does not fit one record batch of {topic}")
        sent = await self._send(builders[0], topic, partition)
        self._reach("changelog-sent")
        (metadata,) = await self._acknowledged([sent])
        if metadata.offset < 0:
            # Acknowledged as a repeat that the broker knows no offset of any more: restoring finds it.
            raise UnavailableError(f"a batch of {topic}/{partition} was acknowledged without its offset: start again")
        return int(metadata.offset) + len(rows) - 1

    async def fence(self, topic: str, partition: int) -> None:
        """Let a partition refuse from now on what earlier owners of the name send to it.

        Raises:
            FencedError: another has claimed the name meanwhile. UnavailableError: no coordinator answers.
        """
        if self._claim is not None:
            await self._claim.fence(topic, partition)

    async def _keep(self, claim: Claim, topic: str, partition: int) -> None:
        """Renew the claim from now on, by a timer; one that was lost meanwhile is known before anything is sent."""
        if self._keeping is None:
            self._keeping = asyncio.create_task(claim.keep(topic, partition))
        if self._keeping.done():
            self._keeping.result()
        await claim.renew_if_due(topic, partition)

    def _build(self, topic: str, records: Iterable[tuple[bytes, bytes | None]], headers: Headers = ()) -> list[Any]:
        """Return batches that hold (key, value) records, in order."""
        builder = self._producer.create_batch()
        builders = [builder]
        append = partial(builder.append, headers=list(headers)) if headers else builder.append
        for key, value in records:
            if append(key=key, value=value, timestamp=None) is None:
                builder = self._producer.create_batch()
                builders.append(builder)
                append = partial(builder.append, headers=list(headers)) if headers else builder.append
                if append(key=key, value=value, timestamp=None) is None:
                    raise StateError(f"a record of {len(value or b'')} bytes fits no batch of {topic}")
        return [builder for builder in builders if builder.record_count()]

    async def _send(self, builder: Any, topic: str, partition: int) -> asyncio.Future[Any]:
        """Hand a batch over, as soon as the one before it is on its way; return what is told of it."""
        while True:
            try:
                future: asyncio.Future[Any] = await self._producer.send_batch(builder, topic, partition=partition)
            except KafkaTimeoutError:
                continue  # the one before it is never given up either: as long as nobody takes it, this one waits
            except KafkaError as error:
                raise self._refused(f"{topic}/{partition} takes no batch", error, topic) from error
            return future

    async def _acknowledged(self, sent: Sequence[asyncio.Future[Any]]) -> list[Any]:
        try:
            return list(await asyncio.gather(*sent))
        except KafkaError as error:
            raise self._refused("a batch was not acknowledged", error) from error

    def _refused(self, what: str, error: KafkaError, topic: str = "") -> PipelineError:
        if isinstance(error, ProducerFenced | InvalidProducerEpoch):
            return fenced(self._owner or "a producer")
        return unavailable(what, error, "Write", topic)


async def _let_go(producer: AIOKafkaProducer) -> None:
    """Stop a producer, which gives up what is not acknowledged instead of trying it on.

    Whoever sent that has waited for it, or waits no more: a stage that was cut off, a command whose time is over. Of an
    idempotent producer a batch is tried for ever: its own stop would take as long as a partition takes nothing.
    """
    producer.client.send = _refuse
    await producer.stop()


async def _refuse(*_: Any, **__: Any) -> NoReturn:
    raise ProducerClosed


def by_partition(records: Iterable[Record]) -> Outgoing:
    """Sort records by where they go."""
    outgoing: defaultdict[tuple[str, int], list[tuple[bytes, bytes | None]]] = defaultdict(list)
    for topic, partition, key, value in records:
        outgoing[topic, partition].append((key, value))
    return outgoing
