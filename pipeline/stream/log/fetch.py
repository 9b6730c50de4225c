"""Faust's Kafka transport with one change: an agent's event is a whole fetched batch of one partition.

Faust spends 22-26 µs on each message before anything is decoded; a batch of a thousand costs that once. The
batch also says which partition table writes belong to. Faust's per-record acknowledgement is replaced with
it: a partition's committed offset is the resume offset of the last batch that was acknowledged, which closes
two holes of the original (a gap at the head is skipped, and a revocation forgets what was acknowledged).

A third hole is closed with `rewind`: in a rebalance Faust lets partitions flow before it has sought them to their
committed offsets, and throws away what streams were handed when it resumes them. A stage that misses records (its
state says what it has read) rewinds, and batches from fetches begun before that are told by their `epoch`.
Why: ops/decisions/0001-batch-transport.md.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import Any

from aiokafka.consumer.fetcher import FetchResult
from aiokafka.errors import CorruptRecordException
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, Message
from faust.types.tuples import ConsumerMessage
from mode.utils.futures import notify

from pipeline.stream.failpoints import Reach
from pipeline.stream.log.pace import PacedFetches

# The broker answers a fetch with the first record there is (`pace.py` says when it is asked), or after this long:
# behind Faust's 1.5 s waits a partition that was handed over meanwhile.
FETCH_WAIT_MS = 100


@dataclass(slots=True)
class Batch:
    """Consecutive records of one partition, as aiokafka fetched them."""

    topic: str
    partition: int
    records: list[Any]
    """Each with an offset, a timestamp, a key and a value; at least one, by rising offset."""
    resume_offset: int
    """Where reading begins again after this batch; a stage that must see records again lowers it."""
    fetched_at_ms: int = 0
    """When the fetch that brought it was answered, by this machine's clock."""
    epoch: int = 0
    """How often its partition had been rewound when the fetch began."""


class NothingRead(dict[TP, Any]):
    """Faust's record of what it has read, always empty.

    Faust drops what is below it, and writes it behind a seek that came meanwhile: what was rewound would be dropped.
    """

    def __getitem__(self, tp: TP) -> None:
        """Return that nothing was read."""


class RecordsAsRead(OrderedDict[Any, Any]):
    """What aiokafka has fetched, by partition, handed out as its compiled reader gives it: whole record batches.

    Those records have an offset, a timestamp, a key and a value. aiokafka's fetcher goes through them one by one and
    makes a dataclass of eleven fields of each, which is most of this thread's time. It has no switch, so it is done
    per fetch.
    """

    def __setitem__(self, tp: Any, fetched: Any) -> None:
        """Take in a fetch, or the error that came instead."""
        if isinstance(fetched, FetchResult):
            # The iterator is never begun. It and the fetch hold each other, which only Python's collector would find.
            fetched._partition_records._records_iterator = None  # noqa: SLF001
            fetched.getall = partial(_all_records, fetched)
        super().__setitem__(tp, fetched)


def _all_records(fetched: FetchResult, max_records: int | None = None) -> list[Any]:
    """Do what `FetchResult.getall` does, but for transactions, which no topic here has, and `max_records`.

    A batch may begin before what was asked for, and compaction may have removed its last records.
    """
    del max_records  # a fetch is bounded by its bytes
    if not fetched.check_assignment(fetched._topic_partition) or not fetched.has_more():  # noqa: SLF001
        return []
    partition = fetched._partition_records  # noqa: SLF001
    content, start = partition._records, partition.next_fetch_offset  # noqa: SLF001
    records: list[Any] = []
    while content.has_next():
        batch = content.next_batch()
        if not batch.validate_crc():
            raise CorruptRecordException(f"Invalid CRC - {fetched._topic_partition}")  # noqa: SLF001
        if not batch.is_control_batch:
            records.extend(batch)
        partition.next_fetch_offset = max(start, batch.next_offset)
    fetched._update_position()  # noqa: SLF001
    fetched._partition_records = None  # noqa: SLF001
    del fetched.getall  # it holds what holds it
    return records[bisect_left(records, start, key=attrgetter("offset")) :]


class BatchConsumerThread(driver.AIOKafkaConsumerThread):
    """The thread that fetches."""

    def _create_worker_consumer(self, transport: driver.Transport) -> Any:
        consumer = super()._create_worker_consumer(transport)
        # aiokafka takes it in the constructor, which Faust calls with its own constant.
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS  # noqa: SLF001
        return consumer

    async def _fetch_records(self, consumer: Any, *args: Any, **kwargs: Any) -> Any:
        fetcher = consumer._fetcher  # noqa: SLF001  made when the consumer starts
        if not isinstance(fetcher._records, RecordsAsRead):  # noqa: SLF001
            fetcher._records = RecordsAsRead(fetcher._records)  # noqa: SLF001
            PacedFetches(fetcher, self.consumer.enough)
        return await super()._fetch_records(consumer, *args, **kwargs)


class BatchConsumer(driver.Consumer):
    """Hands out batches, and commits the resume offset of the last one acknowledged."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._read_offset = NothingRead()
        self._resume: dict[TP, int] = {}
        self._epochs: dict[TP, int] = {}
        self.enough: set[TP] = set()
        """Partitions of which so much waits that no more is asked for; the fetching thread looks into it."""

    def _new_consumer_thread(self) -> BatchConsumerThread:
        return BatchConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, Message]]:  # noqa: ASYNC109  Faust's name
        """Yield one message per partition fetched."""
        epochs = dict(self._epochs)
        records, active = await self._wait_next_records(timeout)
        generation = self.app.consumer_generation_id
        if records is None or self.should_stop:
            return
        if not self.flow_active:
            await self.perform_seek()
            return
        for partition, fetched in records.items():
            tp = TP(partition.topic, partition.partition)
            if not self._may_deliver(tp, active, generation):
                continue
            yield tp, self._batch_message(tp, fetched, generation, epochs.get(tp, 0))

    async def highwaters(self, *partitions: TP) -> dict[TP, int]:
        """Tell Faust, which asks it of changelogs alone, that there is nothing to recover: `state/restore.py` does."""
        return dict.fromkeys(partitions, 0)

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        reach: Reach = self.app.reach
        reach("worker.before-commit")
        did_commit = bool(await super()._commit(offsets))
        reach("worker.after-commit")
        return did_commit

    def _may_deliver(self, tp: TP, active: set[TP] | None, generation: int) -> bool:
        if not self.flow_active or self.app.consumer_generation_id != generation:
            return False
        return active is None or tp in active or tp in self._buffered_partitions

    def _batch_message(self, tp: TP, records: list[Any], generation: int, epoch: int) -> Message:
        resume_offset = records[-1].offset + 1
        batch = Batch(tp.topic, tp.partition, records, resume_offset, self.fetched_at_ms(tp), epoch)
        first = records[0]
        return ConsumerMessage(
            tp.topic,
            tp.partition,
            first.offset,
            first.timestamp / 1000.0,
            first.timestamp_type,
            [],
            None,
            batch,
            None,
            serialized_key_size=0,
            serialized_value_size=len(records),
            tp=tp,
            generation_id=generation,
        )

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Offsets inside a batch are no gap."""

    def ack(self, message: Message) -> bool:
        """Remember that everything below the batch's resume offset is done."""
        if message.acked:
            return False
        message.acked = True
        self._unacked_messages.discard(message)
        resume = message.value.resume_offset
        self._resume[message.tp] = max(resume, self._resume.get(message.tp, 0))
        notify(self._waiting_for_ack)
        return True

    def epoch(self, tp: TP) -> int:
        """Return how often a partition was rewound."""
        return self._epochs.get(tp, 0)

    async def rewind(self, tp: TP, offset: int) -> None:
        """Read a partition again from `offset`; batches of earlier fetches are of an earlier epoch."""
        self._epochs[tp] = self.epoch(tp) + 1
        # In the fetching thread: a seek from here may fall into its reading of records, whose end then is the position.
        await self.seek_wait({tp: offset})

    def put_back(self, message: Message) -> None:
        """Let go of a message that was not handled, without acknowledging it."""
        message.acked = True
        self._unacked_messages.discard(message)
        notify(self._waiting_for_ack)

    def fetched_at_ms(self, tp: TP) -> int:
        """Return when the last fetch of a partition was answered: its highwater is of that moment; 0: never."""
        answered_ms: int | None = self._thread._ensure_consumer().last_poll_timestamp(tp)  # noqa: SLF001
        return answered_ms or 0

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterable[TP]:
        return [tp for tp in self._resume if topics is None or tp in topics or tp.topic in topics]

    def _new_offset(self, tp: TP) -> int | None:
        return self._resume.get(tp)

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Let Faust finish and commit the work in flight before what was acknowledged is forgotten."""
        await super().on_partitions_revoked(revoked)
        for tp in revoked:
            self._resume.pop(tp, None)


class BatchTransport(driver.Transport):
    """The transport to give to a Faust app."""

    Consumer = BatchConsumer
