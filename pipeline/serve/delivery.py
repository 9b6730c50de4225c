"""Decisions and outcomes on their way to the broker: taken at once, kept until acknowledged.

`send` never waits. One task delivers what waits, oldest first, and sends again what was not acknowledged: a
record may arrive twice, which JOIN counts once. What waits is in memory only: a killed process loses it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from pipeline.codec.wire import MAX_RECORD_BYTES
from pipeline.errors import ConfigError, UnavailableError
from pipeline.stream.security import client_options
from pipeline.stream.topics import DECISIONS, OUTCOMES

log = logging.getLogger(__name__)

# A round waits for its acknowledgement; what comes meanwhile makes the next one.
ROUND_RECORDS = 2_000
ROUND_BYTES = 2 << 20
# Small enough for a broker's default of 1 MB a batch; one larger record still goes, in a batch of its own.
BATCH_BYTES = 256 << 10
REQUEST_TIMEOUT_MS = 5_000
RETRY_S = 0.1
LONGEST_RETRY_S = 5.0


class Parcel(NamedTuple):
    """A record to deliver."""

    topic: str
    key: bytes
    value: bytes

    @property
    def size(self) -> int:
        """Bytes that it takes up."""
        return len(self.key) + len(self.value)


def make_producer(broker: str) -> AIOKafkaProducer:
    """Return a producer; its default partitioner puts equal keys into equal partitions (murmur2, as Java's does).

    It is not idempotent: such a one never gives up on a batch, so neither would a stopping node.
    """
    return AIOKafkaProducer(
        **client_options(broker),
        acks="all",
        max_batch_size=BATCH_BYTES,
        max_request_size=2 * MAX_RECORD_BYTES,
        request_timeout_ms=REQUEST_TIMEOUT_MS,
    )


class Delivery:
    """What waits, and the task that delivers it."""

    def __init__(
        self, broker: str, capacity_bytes: int, *, open_producer: Callable[[str], Any] = make_producer
    ) -> None:
        self.delivered = 0
        """Records acknowledged."""
        self.dropped = 0
        """Records that found no room, or that the broker will never take."""
        self.failures = 0
        """Rounds after which something had to be sent again."""
        self.is_failing = False
        """Whether the last round was one of them."""
        self._broker = broker
        self._capacity_bytes = capacity_bytes
        self._open_producer = open_producer
        self._waiting: deque[Parcel] = deque()
        self._waiting_bytes = 0
        self._has_work = asyncio.Event()
        self._is_done = asyncio.Event()
        self._is_done.set()
        self._is_full = False

    @property
    def undelivered(self) -> int:
        """Records that wait."""
        return len(self._waiting)

    def send(self, topic: str, key: bytes, value: bytes) -> None:
        """Take a record; without room it is dropped, counted and logged."""
        parcel = Parcel(topic, key, value)
        if self._waiting_bytes + parcel.size > self._capacity_bytes:
            self._drop_newest(topic)
            return
        self._is_full = False
        self._waiting.append(parcel)
        self._waiting_bytes += parcel.size
        self._has_work.set()
        self._is_done.clear()

    async def flush(self) -> None:
        """Wait until nothing waits."""
        await self._is_done.wait()

    async def deliver(self) -> None:
        """Deliver until cancelled, whatever the broker does.

        Raises:
            ConfigError: decisions and outcomes of one action would go to different partitions.
        """
        retry_s = RETRY_S
        while True:
            delivered_before = self.delivered
            try:
                await self._session()
            except (KafkaError, UnavailableError) as error:
                self.failures += 1
                self.is_failing = True
                if self.delivered > delivered_before:
                    retry_s = RETRY_S
                log.warning(
                    "delivery-failed broker=%s undelivered=%s retry_s=%s error=%r",
                    self._broker,
                    self.undelivered,
                    retry_s,
                    error,
                )
            await asyncio.sleep(retry_s)
            retry_s = min(2 * retry_s, LONGEST_RETRY_S)

    async def _session(self) -> None:
        """Deliver with one producer until something fails; the next one begins anew."""
        producer = self._open_producer(self._broker)
        try:
            await producer.start()
            await _require_co_partitioning(producer)
            while True:
                await self._has_work.wait()
                await self._deliver_round(producer)
        finally:
            await producer.stop()

    async def _deliver_round(self, producer: Any) -> None:
        parcels = self._next_round()
        sent, failure = await _send_all(producer, parcels)
        results = await asyncio.gather(*sent, return_exceptions=True)
        again = parcels[len(sent) :]
        for parcel, result in zip(parcels, results, strict=False):
            if isinstance(result, MessageSizeTooLargeError):
                self.dropped += 1
                log.error("record-refused-by-broker topic=%s key=%r error=%r", parcel.topic, parcel.key, result)
            elif isinstance(result, BaseException):
                failure = result
                again.append(parcel)
            else:
                self.delivered += 1
        self._settle(len(parcels), again)
        if failure is not None:
            raise failure
        self.is_failing = False

    def _next_round(self) -> list[Parcel]:
        parcels: list[Parcel] = []
        size = 0
        for parcel in self._waiting:
            size += parcel.size
            if parcels and (size > ROUND_BYTES or len(parcels) == ROUND_RECORDS):
                break
            parcels.append(parcel)
        return parcels

    def _settle(self, count: int, again: list[Parcel]) -> None:
        """Let go of the `count` oldest records, but for those to send again."""
        for _ in range(count):
            self._waiting_bytes -= self._waiting.popleft().size
        self._waiting.extendleft(reversed(again))
        self._waiting_bytes += sum(parcel.size for parcel in again)
        if not self._waiting:
            self._has_work.clear()
            self._is_done.set()

    def _drop_newest(self, topic: str) -> None:
        self.dropped += 1
        if not self._is_full:  # once for each time it fills up: the broker may be away for hours
            log.error("buffer-full topic=%s undelivered=%s bytes=%s", topic, self.undelivered, self._waiting_bytes)
        self._is_full = True


async def _send_all(producer: Any, parcels: list[Parcel]) -> tuple[list[Any], BaseException | None]:
    """Hand records to the producer up to the first that it doesn't take; return their acknowledgements to come."""
    sent: list[Any] = []
    for parcel in parcels:
        try:
            sent.append(await producer.send(parcel.topic, parcel.value, parcel.key))
        except KafkaError as error:
            return sent, error
    return sent, None


async def _require_co_partitioning(producer: Any) -> None:
    decisions, outcomes = [len(await producer.partitions_for(topic)) for topic in (DECISIONS, OUTCOMES)]
    if decisions != outcomes:
        fault = (
            f"{DECISIONS} has {decisions} partitions and {OUTCOMES} {outcomes}, but JOIN needs both of an action in "
            "one partition: make the topics anew with equal counts"
        )
        raise ConfigError("topics", [fault])
