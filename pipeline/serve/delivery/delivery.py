"""Decisions and outcomes on their way to the broker: taken at once, kept until acknowledged.

`send` never waits. One task delivers what waits, oldest first, and sends again what was not acknowledged: a
record may arrive twice, which JOIN counts once.

While the broker answers, records wait in memory for a round trip. When it does not (a round failed, or goes on for
longer than `SPILL_AFTER_S`), and there is a folder to spill to, what waits and what comes is written there, from where
it is delivered later, by this process or by the next one. Where there is no room at all the newest record is shed and
counted; `wait_for_room` lets a caller who would rather be slow wait before that.

A partition that takes nothing while others do holds back only itself: its records wait apart (`stuck.py`), a task of
its own tries them again, and rounds pass it by until they are through.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from pipeline.codec.wire import MAX_RECORD_BYTES
from pipeline.errors import ConfigError, UnavailableError
from pipeline.serve.delivery.backlog import Acknowledged
from pipeline.serve.delivery.batch_sender import ROUND_BYTES, ROUND_RECORDS, Destination, Round, send_round
from pipeline.serve.delivery.frames import Parcel
from pipeline.serve.delivery.spill_folder import SpillFolder
from pipeline.serve.delivery.stuck import LONGEST_RETRY_S, RETRY_S, StuckPartitions
from pipeline.stream.log.topics import DECISIONS, OUTCOMES
from pipeline.stream.security import Address, client_options

log = logging.getLogger(__name__)

# Small enough for a broker's default of 1 MB a batch; one larger record still goes, in a batch of its own.
BATCH_BYTES = 256 << 10
# A round costs a batch for each partition that it has records of, which is as much as a dozen records: so long it waits
# for company. At a thousand decisions a second it finds fifty; of what kill -9 can lose, and of an outcome's way to a
# snapshot, it is a small part.
LINGER_S = 0.05
SPILL_AFTER_S = 1.0
SYNC_S = 0.1


def make_producer(broker: Address) -> AIOKafkaProducer:
    """Return a producer.

    It is not idempotent: such a one never gives up on a batch, so neither would a stopping node.
    """
    return AIOKafkaProducer(
        **client_options(broker),
        acks="all",
        max_batch_size=BATCH_BYTES,
        max_request_size=2 * MAX_RECORD_BYTES,
    )


class Delivery:
    """What waits, and the task that delivers it."""

    def __init__(
        self,
        broker: Address,
        capacity_bytes: int,
        *,
        spill: SpillFolder | None = None,
        open_producer: Callable[[Address], Any] = make_producer,
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
        self._half = capacity_bytes // 2
        """So much may wait before whoever can wait does; and so much in memory for what is stuck."""
        self._open_producer = open_producer
        self._waiting: deque[Parcel] = deque()
        self._waiting_bytes = 0
        self._has_work = asyncio.Event()
        self._is_done = asyncio.Event()
        self._is_done.set()
        self._is_full = False
        self._told: type[Exception] | None = None
        """Why delivery fails, as it was last said."""
        self._spill = spill
        self._moved = 0
        """Records of the present round that were moved to the disk while it went on."""
        self._late = Acknowledged()
        """Moved to the disk, and acknowledged afterwards."""
        self._stuck = StuckPartitions(spill, self._settled)
        self._has_room = asyncio.Event()
        self._has_room.set()
        if spill is not None and spill.records:
            log.info("spill-found records=%s bytes=%s", spill.records, spill.bytes)
            self._has_work.set()
            self._is_done.clear()

    @property
    def undelivered(self) -> int:
        """Records that wait, in memory and on disk."""
        return len(self._waiting) + self._stuck.held + self.spilled

    @property
    def stuck(self) -> list[Destination]:
        """Partitions that take nothing while others do."""
        return self._stuck.destinations

    @property
    def spilled(self) -> int:
        """Records that wait on disk."""
        return 0 if self._spill is None else self._spill.records

    @property
    def lost(self) -> int:
        """Records that were kept on disk and could not be read again."""
        return 0 if self._spill is None else self._spill.lost

    @property
    def spilled_bytes(self) -> int:
        """How much they take up."""
        return 0 if self._spill is None else self._spill.bytes

    def send(self, topic: str, key: bytes, value: bytes) -> None:
        """Take a record; without room it is dropped, counted and logged."""
        parcel = Parcel(topic, key, value)
        size = parcel.size
        if self.is_failing and self._spilled(parcel):
            return
        if self._waiting_bytes + self._stuck.held_bytes + size <= self._capacity_bytes:
            self._waiting.append(parcel)
            self._waiting_bytes += size
            if self._waiting_bytes > self._half:
                self._has_room.clear()
        elif not self._spilled(parcel):
            self._drop_newest(topic)
            return
        self._is_full = False
        self._has_work.set()
        self._is_done.clear()

    async def wait_for_room(self, longest_s: float) -> None:
        """Wait while memory is more than half full, but no longer than `longest_s`."""
        if not self._has_room.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._has_room.wait(), longest_s)

    async def flush(self) -> None:
        """Wait until nothing waits."""
        await self._is_done.wait()

    def close(self) -> int:
        """Keep on disk what was not delivered, once `deliver` has ended; return how many records are lost without."""
        if self._spill is not None:
            self._fail()
        abandoned = len(self._waiting) + self._stuck.keep()
        if self._spill is not None:
            self._spill.close()
        self.dropped += abandoned
        self._waiting.clear()
        self._waiting_bytes = 0
        return abandoned

    async def sync(self) -> None:
        """Bring what was spilled to the disk itself, until cancelled."""
        while self._spill is not None:
            await asyncio.sleep(SYNC_S)
            if self._spill.is_unsynced:
                await asyncio.to_thread(self._spill.sync)

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
                self._fail()
                if self.delivered > delivered_before:
                    retry_s = RETRY_S
                self._tell_failure(error)
            await asyncio.sleep(retry_s)
            retry_s = min(2 * retry_s, LONGEST_RETRY_S)

    async def _session(self) -> None:
        """Deliver with one producer until something fails; the next one begins anew."""
        producer = self._open_producer(self._broker)
        try:
            await producer.start()
            await _require_co_partitioning(producer)
            self._stuck.begin(producer)
            while True:
                await self._has_work.wait()
                await asyncio.sleep(LINGER_S)
                if self._waiting:
                    await self._deliver_round(producer)
                # What is stuck and finds no disk is held in memory: no more is read than that has room for.
                if self._spill is not None and self._spill.waiting.records and self._stuck.held_bytes <= self._half:
                    await self._deliver_spilled(self._spill, producer)
        finally:
            await self._stuck.rest()
            await producer.stop()

    async def _deliver_round(self, producer: Any) -> None:
        parcels = self._next_round()
        self._moved = 0
        sending = await send_round(producer, parcels, self._stuck)
        await sending.wait(producer, SPILL_AFTER_S)
        if not sending.is_over and not sending.delivered:
            self._fail()
            await sending.wait(producer)
        moved = parcels[: self._moved]
        for _ in parcels[self._moved :]:
            self._waiting_bytes -= self._waiting.popleft().size
        # What was moved is delivered from the disk, and counted there; what has arrived after all does not go twice.
        self._late.note(_common(sending.delivered, moved))
        self._count(_beside(sending.delivered, moved), _beside(sending.refused, moved))
        again = self._put_aside(producer, sending, moved, self._half)
        self._waiting.extendleft(reversed(again))
        self._waiting_bytes += sum(parcel.size for parcel in again)
        self._note_room()
        if sending.failure is not None and not sending.delivered:
            raise sending.failure
        self._tell_recovery()

    async def _deliver_spilled(self, spill: SpillFolder, producer: Any) -> None:
        parcels = spill.waiting.next_round(ROUND_RECORDS, ROUND_BYTES)
        wanted, known = self._late.part(parcels)
        sending = await send_round(producer, wanted, self._stuck)
        await sending.wait(producer, SPILL_AFTER_S)
        if not sending.delivered:
            await sending.wait(producer)
        if sending.failure is not None and not sending.delivered:
            self._late.note(known)
            raise sending.failure  # the whole round comes again: it is on disk
        self._put_aside(producer, sending, [], math.inf)  # what the disk has kept is not dropped
        spill.waiting.settle()
        self._count([*known, *sending.delivered], sending.refused)
        self._tell_recovery()
        self._note_room()

    def _put_aside(self, producer: Any, sending: Round, moved: list[Parcel], room_bytes: float) -> list[Parcel]:
        """Have partitions that took nothing, where others did, wait apart; return what else was not acknowledged."""
        aside = dict(sending.passed_by)
        again: list[Parcel] = []
        for destination, parcels in sending.left():
            if sending.delivered:
                aside.setdefault(destination, []).extend(parcels)
            else:
                again += parcels
        for destination, sent, parcels in sending.flying():
            aside.setdefault(destination, []).extend(parcels)
            self._stuck.watch(destination, sent, parcels)
        on_disk = Counter(moved)
        for destination, parcels in aside.items():
            for parcel in self._stuck.put(destination, _take_out(parcels, on_disk), room_bytes):
                self._drop_newest(parcel.topic)
            if not self._stuck.tries(destination):
                why = sending.failures.get(destination, "no acknowledgement yet")
                log.warning("partition-takes-nothing topic=%s partition=%s error=%r", *destination, why)
                self.failures += 1
                self._stuck.begin(producer, destination)
        return list(_take_out(again, on_disk))

    def _settled(self, delivered: list[Parcel], refused: list[Parcel]) -> None:
        self._count(delivered, refused)
        self._note_room()

    def _count(self, delivered: list[Parcel], refused: list[Parcel]) -> None:
        for topic, key, value in refused:
            log.error("record-refused-by-broker topic=%s key=%r bytes=%s", topic, key, len(value))
        self.dropped += len(refused)
        self.delivered += len(delivered)

    def _next_round(self) -> list[Parcel]:
        parcels: list[Parcel] = []
        size = 0
        for parcel in self._waiting:
            size += parcel.size
            if parcels and (size > ROUND_BYTES or len(parcels) == ROUND_RECORDS):
                break
            parcels.append(parcel)
        return parcels

    def _note_room(self) -> None:
        if self._waiting_bytes <= self._half:
            self._has_room.set()
        if not self._waiting and (self._spill is None or not self._spill.waiting.records):
            self._has_work.clear()  # what is stuck has tasks of its own
        if not self.undelivered:
            self._is_done.set()

    def _fail(self) -> None:
        """Move what waits in memory to the disk, as far as there is room, and have what comes follow it."""
        self.is_failing = True
        if self._spill is None:
            return
        while self._waiting and self._spill.waiting.append(self._waiting[0]):
            self._waiting_bytes -= self._waiting.popleft().size
            self._moved += 1
        self._note_room()

    def _tell_failure(self, error: Exception) -> None:
        """Say that delivery fails, once for each reason: it may go on for hours."""
        if self._told is not type(error):
            log.warning("delivery-failed broker=%s undelivered=%s error=%r", self._broker, self.undelivered, error)
        self._told = type(error)

    def _tell_recovery(self) -> None:
        self.is_failing = False
        if self._told is not None:
            log.warning("delivery-works-again broker=%s undelivered=%s", self._broker, self.undelivered)
        self._told = None

    def _spilled(self, parcel: Parcel) -> bool:
        if self._spill is None or not self._spill.waiting.append(parcel):
            return False
        self._has_work.set()
        self._is_done.clear()
        return True

    def _drop_newest(self, topic: str) -> None:
        self.dropped += 1
        if not self._is_full:  # once for each time it fills up: the broker may be away for hours
            log.error("buffer-full topic=%s undelivered=%s bytes=%s", topic, self.undelivered, self._waiting_bytes)
        self._is_full = True


def _take_out(parcels: Iterable[Parcel], others: Counter[Parcel]) -> Iterator[Parcel]:
    """Give those that are not among others, each of which stands for one."""
    if not others:
        yield from parcels
        return
    for parcel in parcels:
        if others[parcel] > 0:
            others[parcel] -= 1
        else:
            yield parcel


def _beside(parcels: Iterable[Parcel], others: Iterable[Parcel]) -> list[Parcel]:
    return list(_take_out(parcels, Counter(others)))


def _common(parcels: Iterable[Parcel], others: Iterable[Parcel]) -> list[Parcel]:
    return list((Counter(parcels) & counted).elements()) if (counted := Counter(others)) else []


async def _require_co_partitioning(producer: Any) -> None:
    decisions, outcomes = [len(await producer.partitions_for(topic)) for topic in (DECISIONS, OUTCOMES)]
    if decisions != outcomes:
        fault = (
            f"{DECISIONS} has {decisions} partitions and {OUTCOMES} {outcomes}, but JOIN needs both of an action in "
            "one partition: make the topics anew with equal counts"
        )
        raise ConfigError("topics", [fault])
