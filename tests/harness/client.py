"""What a test sends into the loop, and what it sees come out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.partitioner import murmur2

from pipeline.audit.record import Operator
from pipeline.cli.control import apply_policy
from pipeline.codec import avro
from pipeline.policy.definition import PolicyDefinition
from pipeline.stream.log import topics
from tests.harness import transactions
from tests.harness.published import Published, published_in
from tests.harness.supervised import Supervised
from tests.harness.transactions import Sinks
from tests.harness.worker import Worker

T = TypeVar("T")
Fields = Mapping[str, Any]

WITHIN_S = 60.0
POLL_S = 0.05
LARGEST_REQUEST = 6 << 20
PATIENCE_MS = 180_000
LOOK_WITHIN_S = 30.0
SOURCES = (topics.DECISIONS, topics.OUTCOMES, topics.REWARDS, topics.STATISTICS)


def partition_of(action_id: str, partitions: int) -> int:
    """Return where a test puts an action: at home, by another's murmur2."""
    hashed: int = murmur2(action_id.encode())
    return (hashed & 0x7FFFFFFF) % partitions


class Client:
    """One broker's loop, seen from outside."""

    def __init__(self, broker: str, *, app_id: str = "pipeline", partitions: int = 4) -> None:
        self.broker = broker
        self.partitions = partitions
        self._app_id = app_id
        self._workers: list[Worker | Supervised] = []
        self._sinks: Sinks | None = None
        self._sending = asyncio.Lock()

    async def __aenter__(self) -> Self:
        self._producer = AIOKafkaProducer(
            bootstrap_servers=self.broker,
            max_request_size=LARGEST_REQUEST,
            enable_idempotence=True,
            # What a test sends while the broker is away arrives when it is back, once.
            request_timeout_ms=PATIENCE_MS,
        )
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=self.broker,
            group_id=self._app_id,  # never joined: to ask for what its members have acknowledged
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            # The embedded broker gives no more than that of a batch, and no batch of which it can't give all.
            max_partition_fetch_bytes=LARGEST_REQUEST,
        )
        await self._producer.start()
        await self._consumer.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._consumer.stop()
        await self._producer.stop()

    def watch(self, *workers: Worker | Supervised) -> None:
        """Fail a wait as soon as one of these has ended by itself."""
        self._workers = list(workers)

    def through(self, sinks: Sinks) -> None:
        """Produce decisions and outcomes by another client's transactions from here on."""
        self._sinks = sinks

    async def apply(self, definition: PolicyDefinition) -> None:
        """Put a policy in force."""
        await apply_policy(self.broker, definition, Operator("tests", "policy apply"))

    async def decide(self, decisions: Iterable[Fields]) -> None:
        """Produce decisions as JSON."""
        await self._produce(topics.DECISIONS, decisions)

    async def observe(self, outcomes: Iterable[Fields]) -> None:
        """Produce outcomes as JSON."""
        await self._produce(topics.OUTCOMES, outcomes)

    async def send(self, topic: str, partition: int, raw: bytes | None, key: bytes | None = b"key") -> int:
        """Produce any bytes; return their offset."""
        return int((await self._producer.send_and_wait(topic, raw, key, partition=partition)).offset)

    async def tick(self, event_time_ms: int) -> None:
        """Let every partition's event time come to `event_time_ms`, behind all that was produced."""
        if self._sinks is not None:
            await asyncio.to_thread(self._sinks.finish)
        tick = avro.encode("tick", {"event_time_ms": event_time_ms, "clock_ms": event_time_ms})
        for topic in (topics.DECISIONS, topics.OUTCOMES):
            for partition in range(self.partitions):
                await self.send(topic, partition, tick)

    async def read(self, topic: str) -> list[Any]:
        """Return every record of a topic, partition by partition."""
        partitions = [TopicPartition(topic, number) for number in range(self.partitions)]
        self._consumer.assign(partitions)
        ends = await self._consumer.end_offsets(partitions)
        await self._consumer.seek_to_beginning(*partitions)
        records: dict[TopicPartition, list[Any]] = {partition: [] for partition in partitions}
        while [p for p in partitions if await self._consumer.position(p) < ends[p]]:
            for partition, fetched in (await self._consumer.getmany(timeout_ms=100)).items():
                records[partition] += fetched
        return [record for partition in partitions for record in records[partition]]

    async def dead_letters(self) -> list[dict[str, Any]]:
        return [avro.decode_as("dead_letter", record.value) for record in await self.read(topics.DEAD_LETTERS)]

    async def snapshots(self, policy: str) -> list[Fields]:
        """Return all published snapshots of a policy."""
        found = await self.published(topics.SNAPSHOT_HISTORY)
        return [one.fields for one in found if one.fields["policy"] == policy]

    async def published(self, topic: str) -> list[Published]:
        """Return each snapshot of a topic; fails if what it needs does not stand before it."""
        return published_in(await self.read(topic))

    async def until(self, look: Callable[[], Awaitable[T]], *, what: str, within_s: float = WITHIN_S) -> T:
        """Look again and again until something is seen that is true; return it."""
        deadline = time.monotonic() + within_s
        while not (seen := await _looked(look)):
            for worker in self._workers:
                assert worker.is_running, f"a worker ended with {worker.exit_code}:\n{worker.last_words()}"
            words = "\n".join(worker.last_words(5) for worker in self._workers)
            assert time.monotonic() < deadline, f"waited {within_s:.0f} s for {what}\n{words}"
            await asyncio.sleep(POLL_S)
        return seen

    async def end(self, topic: str) -> int:
        """Return how many offsets a topic has."""
        return sum((await self.ends(topic)).values())

    async def ends(self, topic: str) -> dict[int, int]:
        """Return the stable end of each partition of a topic."""
        partitions = [TopicPartition(topic, number) for number in range(self.partitions)]
        return {place.partition: end for place, end in (await self._consumer.end_offsets(partitions)).items()}

    async def quiet(self, within_s: float = WITHIN_S) -> None:
        """Wait until the workers have acknowledged all there is to read, in every stage."""

        # A stage acknowledges what it has read when everything that came of it is delivered, so the ends of the
        # later topics stand still once the earlier ones are read.
        try:
            await self.until(self._is_all_read, what="the workers to read everything", within_s=within_s)
        except AssertionError as error:
            raise AssertionError(f"{error}\nacknowledged, of so many: {await self._unread()}") from error

    async def acknowledged(self, topic: str) -> dict[int, int]:
        """Return what the workers have acknowledged of each partition of a topic."""
        places = [TopicPartition(topic, number) for number in range(self.partitions)]
        self._consumer.assign(places)
        return {place.partition: await self._consumer.committed(place) or 0 for place in places}

    async def all_read(self, topic: str) -> None:
        """Wait until the workers have acknowledged all there is of a topic."""

        async def is_read() -> bool:
            return await self.acknowledged(topic) == await self.ends(topic)

        await self.until(is_read, what=f"the workers to read {topic}")

    async def still(self, *names: str, for_s: float) -> None:
        """Wait until nothing was appended to these topics for a while: how else to see that nothing comes?"""
        partitions = [TopicPartition(name, number) for name in names for number in range(self.partitions)]
        ends, since = await self._consumer.end_offsets(partitions), time.monotonic()

        async def is_still() -> bool:
            nonlocal ends, since
            seen = await self._consumer.end_offsets(partitions)
            if seen != ends:
                ends, since = seen, time.monotonic()
            return time.monotonic() - since >= for_s

        await self.until(is_still, what=f"{', '.join(names)} to stand still")

    async def last_snapshot(self, policy: str, posterior_sha256: str) -> Fields:
        """Return the last snapshot of a quiet loop, which must have this hash as soon as its interval is over."""
        seen: list[Fields] = []

        async def is_right() -> bool:
            seen[:] = await self.snapshots(policy)
            return bool(seen) and seen[-1]["posterior_sha256"] == posterior_sha256

        try:
            await self.until(is_right, what="the expected posterior", within_s=10.0)
        except AssertionError as error:
            counts = (
                {s["segment"]: (s["arms"], s["counts"], s["reward_sums"]) for s in seen[-1]["segments"]} if seen else {}
            )
            raise AssertionError(f"{error}\nthe last of {len(seen)} snapshots: {counts}") from error
        return seen[-1]

    async def _produce(self, topic: str, records: Iterable[Fields]) -> None:
        if self._sinks is not None:
            placed = [transactions.sent(topic, partition_of(one["action_id"], self.partitions), one) for one in records]
            async with self._sending:
                await asyncio.to_thread(self._sinks.send, placed)
            return
        sent = []
        for record in records:
            action_id = record["action_id"]
            partition = partition_of(action_id, self.partitions)
            sent.append(await self._producer.send(topic, orjson.dumps(record), action_id.encode(), partition=partition))
        await self._producer.flush()
        await asyncio.gather(*sent)

    async def _is_all_read(self) -> bool:
        return not await self._unread()

    async def _unread(self) -> dict[str, tuple[int, int]]:
        """Return what is acknowledged and where the log ends, of each partition where these differ."""
        partitions = [TopicPartition(topic, number) for topic in SOURCES for number in range(self.partitions)]
        self._consumer.assign(partitions)
        committed = {place: await self._consumer.committed(place) or 0 for place in partitions}
        ends = await self._consumer.end_offsets(partitions)
        return {
            f"{place.topic}/{place.partition}": (committed[place], ends[place])
            for place in partitions
            if committed[place] != ends[place]
        }


async def _looked(look: Callable[[], Awaitable[T]]) -> T | None:
    """Look once; while the broker is away there is nothing to be seen."""
    try:
        async with asyncio.timeout(LOOK_WITHIN_S):
            return await look()
    except (KafkaError, TimeoutError):
        return None
