"""Read partitions from given offsets on, each at the pace of whoever takes it.

    begin(partition, offset) ─▶ Reading ◀─ an answer: batches, the offset behind them, the stable end
                                   └─ take() ─▶ everything that came since, as one batch

One request is on its way to each broker that leads partitions of which not enough waits. It is answered by the first
record there is, and the next is not sent before a pace has passed: a record that comes alone goes through at once, and
of a stream each fetch brings what came meanwhile. A partition of which enough waits is left out, so whoever is behind
holds up nobody: the stages behind it, which finish what is begun, go on being fed over the same connection.

A reading knows nothing of groups, and nobody seeks it: who wants to read elsewhere ends it and begins another. What
comes for one that was ended is dropped.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict, defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import (
    KafkaError,
    LeaderNotAvailableError,
    OffsetOutOfRangeError,
    TopicAuthorizationFailedError,
    for_code,
)
from aiokafka.protocol.fetch import FetchRequest

from pipeline.errors import AwayError, UnavailableError
from pipeline.stream.log.fetch import content_of
from pipeline.stream.log.offsets import (
    EARLIEST_MS,
    LATEST_MS,
    READ_COMMITTED,
    READ_UNCOMMITTED,
    Told,
    ask_offsets,
)
from pipeline.stream.log.reading import End, Reading
from pipeline.stream.refusals import check, unavailable
from pipeline.stream.security import Address, client_options
from pipeline.stream.timeouts import ANSWER_WITHIN_MS

log = logging.getLogger(__name__)

FETCH_WAIT_MS = 100
"""A broker that has nothing answers after this long; a partition that is begun meanwhile waits for it."""
FETCH_PACE_S = 0.01
"""Between two requests to a broker."""
FETCH_BYTES = 50 << 20
PARTITION_BYTES = 1 << 20
"""Of a partition in one answer; a larger record batch comes whole, and alone."""
RETRY_S = 0.1

STILL_WITHIN_S = 60.0
"""A broker that says nothing for so long is not there."""
NOWHERE = -1
"""Instead of a broker: of partitions that have no known leader."""


class LogReader:
    """Any number of readings over one client."""

    def __init__(self, broker: Address, open_client: Callable[..., Any] = AIOKafkaClient) -> None:
        self._broker = broker
        self._open_client = open_client
        self._client: Any = None  # made by `start`: aiokafka wants a running loop
        self._readings: OrderedDict[TopicPartition, Reading] = OrderedDict()
        """Those that something came of last stand last, and so everybody comes first in a request at some time: of the
        first, a broker gives a record batch of any size."""
        self._changed = asyncio.Event()
        self._asking: dict[int, asyncio.Task[None]] = {}
        """By broker: the request that is on its way."""
        self._next_s: defaultdict[int, float] = defaultdict(float)
        """By broker: when it may be asked again."""
        self._trouble: dict[int, str] = {}
        """By broker: what was said to be wrong with it."""
        self._running: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Connect.

        Raises:
            UnavailableError: no broker answers.
        """
        self._client = self._open_client(**client_options(self._broker))
        try:
            await self._client.bootstrap()
        except KafkaError as error:
            await self._client.close()
            raise unavailable(f"no broker answers at {self._broker}", error, "Describe") from error
        self._running = asyncio.create_task(self._run())

    @property
    def client(self) -> Any:
        """What it is connected by."""
        return self._client

    async def stop(self) -> None:
        """Disconnect."""
        tasks = [task for task in (self._running, *self._asking.values()) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._client is not None:
            await self._client.close()

    def begin(
        self, partition: TopicPartition, offset: int, has_come: asyncio.Event, has_enough: asyncio.Event
    ) -> Reading:
        """Read a partition from `offset` on, in place of an earlier reading of it.

        Args:
            partition: of any topic.
            offset: what is there, or the first that the log still has behind it, is the first to come.
            has_come: set when there is something to take.
            has_enough: set when so much waits that no more is asked for.
        """
        reading = self._readings[partition] = Reading(partition, offset, has_come, has_enough, self._changed)
        self._client.add_topic(partition.topic)
        self._changed.set()
        return reading

    def finish(self, reading: Reading) -> None:
        """Read it no more."""
        if self._readings.get(reading.partition) is reading:
            del self._readings[reading.partition]

    def end(self, partition: TopicPartition) -> End | None:
        """Return the last known end of a partition that is read."""
        reading = self._readings.get(partition)
        return None if reading is None else reading.end

    async def _run(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            for node in {self._leader(reading) for reading in self._readings.values() if reading.is_wanted}:
                if node not in self._asking:
                    self._asking[node] = asyncio.create_task(self._ask(node))

    def _leader(self, reading: Reading) -> int:
        leader = self._client.cluster.leader_for_partition(reading.partition)
        return NOWHERE if leader is None else int(leader)

    async def _ask(self, node: int) -> None:
        """Make one request to a broker, in its turn; then there is to be another."""
        try:
            await asyncio.sleep(self._next_s[node] - time.monotonic())
            self._next_s[node] = time.monotonic() + FETCH_PACE_S
            wanted = [one for one in self._readings.values() if one.is_wanted and self._leader(one) == node]
            if wanted:
                await self._fetch(node, wanted)
            self._trouble.pop(node, None)
        except Exception as error:  # noqa: BLE001  whatever it is, others count on going on
            self._say(node, error)
            await self._recover()
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            self._say(node, error)  # aiokafka's own, of a connection that is gone
            await self._recover()
        finally:
            del self._asking[node]
            self._changed.set()

    def _say(self, node: int, error: BaseException) -> None:
        """Log a trouble once while it lasts."""
        if self._trouble.get(node) != (what := repr(error)):
            self._trouble[node] = what
            log.warning("fetch-failed node=%s error=%s", node, what, exc_info=not isinstance(error, KafkaError))

    async def _recover(self) -> None:
        self._client.force_metadata_update()
        await asyncio.sleep(RETRY_S)

    async def _fetch(self, node: int, wanted: Sequence[Reading]) -> None:
        if node == NOWHERE:
            raise LeaderNotAvailableError(f"{[tuple(reading.partition) for reading in wanted]} have no known leader")
        asked = {reading.partition: (reading, reading.position) for reading in wanted}
        by_topic: dict[str, list[tuple[int, int, int]]] = {}
        for (topic, number), (_, offset) in asked.items():
            by_topic.setdefault(topic, []).append((number, offset, PARTITION_BYTES))
        request = FetchRequest(FETCH_WAIT_MS, 1, FETCH_BYTES, READ_COMMITTED, list(by_topic.items()))
        # By topic, as the request has them.
        first = TopicPartition(request.topics[0][0], request.topics[0][1][0][0])
        answer = await self._client.send(node, request)
        answered_at_ms = time.monotonic_ns() // 1_000_000
        check(getattr(answer, "error_code", 0))
        trouble: KafkaError | None = None
        for topic, parts in answer.topics:
            for number, code, high_watermark, *rest in parts:
                partition = TopicPartition(topic, number)
                reading, offset = asked[partition]
                if self._readings.get(partition) is not reading or reading.position != offset:
                    continue  # ended meanwhile
                if code:
                    trouble = await self._refused(reading, for_code(code)()) or trouble
                    continue
                part = Part.of(answer.API_VERSION, high_watermark, rest)
                reading.end = End(part.stable_offset, answered_at_ms)
                self._take_in(reading, part, is_first=partition == first)
        if trouble is not None:
            raise trouble

    def _take_in(self, reading: Reading, part: Part, *, is_first: bool) -> None:
        try:
            batches, resume_offset = content_of(part.raw, reading.position, part.aborted)
        except Exception as error:  # noqa: BLE001  whatever stands there, it is this partition's matter
            reading.fail(error)
            return
        if is_first and not part.raw:
            # Of the first, a broker gives what there is. Offsets up to the end without anything in them: compacted.
            resume_offset = max(resume_offset, part.stable_offset)
        if resume_offset > reading.position:
            self._readings.move_to_end(reading.partition)
        reading.put(batches, resume_offset, len(part.raw))

    async def _refused(self, reading: Reading, error: KafkaError) -> KafkaError | None:
        """Do what there is to do about a partition's error; return it where it is to be asked again."""
        if isinstance(error, OffsetOutOfRangeError):
            await self._come_into_range(reading)
            return None
        if error.retriable or error.invalid_metadata:
            return error
        reading.fail(error)
        return None

    async def _come_into_range(self, reading: Reading) -> None:
        """Go on at the first offset that is kept; a log that ends before what was read of it may be another one."""
        topic, number = place = reading.partition
        begin = (await self.offsets([place], EARLIEST_MS))[place]
        end = (await self.offsets([place], LATEST_MS, isolation=READ_UNCOMMITTED))[place]
        if reading.position > end:
            # A reader knows offsets alone: which log this is, they find out who open it again (`sources.py`).
            reading.fail(
                UnavailableError(
                    f"{topic}/{number} ends at offset {end}, and was read up to {reading.position}: it was made anew, "
                    "restored or truncated meanwhile. Nothing that stands in it now was taken in. "
                    "See ops/runbooks/another-log.md"
                )
            )
        elif reading.position < begin:
            reading.pass_over(begin)

    async def partitions_of(self, topic: str) -> list[TopicPartition]:
        """Return a topic's partitions.

        Raises:
            UnavailableError: there is no such topic, or it may not be read.
        """
        cluster, deadline_s = self._client.cluster, time.monotonic() + ANSWER_WITHIN_MS / 1000
        await self._client.add_topic(topic)
        while not (numbers := cluster.partitions_for_topic(topic)):
            if topic in cluster.unauthorized_topics:
                raise unavailable(f"topic {topic} can't be read", TopicAuthorizationFailedError(topic), "Read", topic)
            if time.monotonic() > deadline_s:
                raise UnavailableError(f"topic {topic} can't be read: there is none at {self._broker}")
            # The embedded broker makes a topic that it is asked for.
            await asyncio.sleep(RETRY_S)
            await self._client.force_metadata_update()
        return [TopicPartition(topic, number) for number in sorted(numbers)]

    async def offsets(
        self, partitions: Iterable[TopicPartition], moment_ms: int, *, isolation: int = READ_COMMITTED
    ) -> dict[TopicPartition, int]:
        """Return by partition the offset of the first record that the broker took at a moment or later.

        Args:
            partitions: of any topics.
            moment_ms: epoch milliseconds; or EARLIEST_MS, LATEST_MS: the first offset that is kept, the stable end.
            isolation: of the end.

        Raises:
            AwayError: no broker can say. KafkaError: it may not be asked.
        """
        found: dict[TopicPartition, int] = {}
        left, deadline_s = list(partitions), time.monotonic() + STILL_WITHIN_S
        fault: KafkaError | None = None
        while left:
            if time.monotonic() > deadline_s:
                raise AwayError(f"no broker tells the offsets of {left}: {fault!r}") from fault
            for place, told in (await self._told_offsets(left, moment_ms, isolation)).items():
                if isinstance(told, int):
                    found[place] = told
                elif told.retriable or told.invalid_metadata:
                    fault = told
                else:
                    raise told
            if left := [place for place in left if place not in found]:
                await self._recover()
        return found

    async def _told_offsets(
        self, places: Iterable[TopicPartition], moment_ms: int, isolation: int
    ) -> dict[TopicPartition, Told]:
        by_leader: defaultdict[int | None, list[TopicPartition]] = defaultdict(list)
        for place in places:
            self._client.add_topic(place.topic)
            by_leader[self._client.cluster.leader_for_partition(place)].append(place)
        told: dict[TopicPartition, Told] = {}
        for leader, of_leader in by_leader.items():
            try:
                told |= await ask_offsets(self._client, leader, of_leader, moment_ms, isolation)
            except KafkaError as error:
                told |= dict.fromkeys(of_leader, error)
        return told


@asynccontextmanager
async def open_reader(broker: Address) -> AsyncIterator[LogReader]:
    """Connect a reader, and disconnect it.

    Raises:
        UnavailableError: no broker answers.
    """
    reader = LogReader(broker)
    await reader.start()
    try:
        yield reader
    finally:
        await reader.stop()


class Part(NamedTuple):
    """What an answer says of one partition."""

    stable_offset: int
    aborted: Sequence[tuple[int, int]]
    raw: bytes

    @classmethod
    def of(cls, version: int, high_watermark: int, rest: Sequence[Any]) -> Part:
        """Read the fields behind the high watermark; which there are depends on the protocol's version.

        >>> Part.of(11, 9, [8, 0, None, -1, b""])  # last stable offset, log start, aborted, replica, records
        Part(stable_offset=8, aborted=(), raw=b'')
        """
        stable, aborted = rest[0], rest[2 if version >= _WITH_REPLICA else -2]
        return cls(high_watermark if stable < 0 else stable, tuple(aborted or ()), rest[-1] or b"")


_WITH_REPLICA = 11
