"""Read `dead-letters`, and send letters back to where they came from.

A replay is at least once, and once in effect: JOIN knows a decision by its action_id and an outcome by its outcome_id,
so one that it has already is a duplicate, and one whose action is no longer held is refused again. A letter is marked
after its record was acknowledged: what an interrupted replay did not mark is sent again by the next.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from aiokafka import TopicPartition
from aiokafka.partitioner import DefaultPartitioner

from pipeline.audit.entry import Change
from pipeline.audit.record import Operator, changing
from pipeline.errors import DecodeError, RecordError, UnavailableError
from pipeline.replay.dead_letters.letters import (
    DeadLetter,
    Gathered,
    Source,
    gather,
    key_for,
    mark_key,
    mark_value,
    restored,
)
from pipeline.stream.log.follow import TopicFollower, taken
from pipeline.stream.log.offsets import EARLIEST_MS, LATEST_MS
from pipeline.stream.log.outbox import BUILDER_BYTES, Outbox, Record
from pipeline.stream.log.reader import LogReader
from pipeline.stream.log.topics import DEAD_LETTERS
from pipeline.stream.security import Address

LARGEST_SENT_BYTES = BUILDER_BYTES - (1 << 10)
"""Less the frame of a record."""
FETCHED_WITHIN_S = 60.0
CHUNK_LETTERS = 1_000
"""Letters between two rounds of marks."""


async def read_letters(broker: Address) -> Gathered:
    """Return every letter up to the topic's present end.

    Raises:
        UnavailableError: no broker answers, or there is no such topic.
    """
    follower = TopicFollower(broker, DEAD_LETTERS)
    try:
        await follower.start()
        records = await follower.read_to_end()
    finally:
        await follower.stop()
    return gather((record.partition, record.timestamp, record.value) for record in records)


async def send_back(broker: Address, letters: Sequence[DeadLetter], by: Operator, now_ms: int) -> Sequence[Unsent]:
    """Send letters, as `plan_replay` ordered them, and mark them; return those that could not be made whole.

    Raises:
        UnavailableError: not acknowledged; some may have been sent.
    """
    if not letters:
        return ()
    originals = Originals(broker)
    unsent: list[Unsent] = []
    counts = Counter(f"{letter.source.topic}: {letter.reason}" for letter in letters)
    try:
        async with changing(broker, by, Change("dead letters", after={"sent back": counts})) as outbox:
            for chunk in chunks(letters):
                unsent += await _send(outbox, originals, chunk, now_ms)
    finally:
        await originals.stop()
    return unsent


async def _send(outbox: Outbox, originals: Originals, chunk: Sequence[DeadLetter], now_ms: int) -> list[Unsent]:
    unsent = []
    whole = [letter for letter in chunk if not letter.is_cut]
    await outbox.deliver([await record_for(outbox, letter) for letter in whole])
    await outbox.deliver(_mark(letter, now_ms) for letter in whole)
    # One by one: a few of these are more than memory should hold.
    for letter in chunk:
        if letter.is_cut:
            try:
                await outbox.deliver([await record_for(outbox, await originals.whole(letter))])
            except RecordError as error:
                unsent.append(Unsent(letter.source, error.detail))
            else:
                await outbox.deliver([_mark(letter, now_ms)])
    return unsent


class Unsent(NamedTuple):
    """A letter that was not sent, and why."""

    source: Source
    why: str


class Originals:
    """Fetches the records that cut letters are of from where they were read."""

    def __init__(self, broker: Address) -> None:
        self._broker = broker
        self._reader: LogReader | None = None

    async def whole(self, letter: DeadLetter) -> DeadLetter:
        """Return the letter with its record's key and bytes.

        Raises:
            DecodeError: the record is gone, another, unreadable, or more than can be sent.
            UnavailableError: no broker answers.
        """
        key, value = await self._fetch(letter.source)
        whole = restored(letter, key, value)
        if len(whole.raw) + len(key or b"") > LARGEST_SENT_BYTES:
            raise DecodeError(
                "record-too-large",
                f"the original has {len(whole.raw)} bytes, {LARGEST_SENT_BYTES} can be sent: its producer has to",
            )
        return whole

    async def stop(self) -> None:
        """Disconnect."""
        if self._reader is not None:
            await self._reader.stop()

    async def _fetch(self, source: Source) -> tuple[bytes | None, bytes | None]:
        if self._reader is None:
            self._reader = LogReader(self._broker)
            await self._reader.start()
        place = TopicPartition(source.topic, source.partition)
        begins = await self._reader.offsets([place], EARLIEST_MS)
        ends = await self._reader.offsets([place], LATEST_MS)
        if not begins[place] <= source.offset < ends[place]:
            raise _gone(source)
        has_come = asyncio.Event()
        reading = self._reader.begin(place, source.offset, has_come, asyncio.Event())
        try:
            async with asyncio.timeout(FETCHED_WITHIN_S):
                while reading.taken <= source.offset:
                    await has_come.wait()
                    has_come.clear()
                    for record in (record for batch in taken([reading]) for record in batch.records):
                        if record.offset == source.offset:
                            return record.key, record.value
        except TimeoutError as error:
            raise UnavailableError(f"{source} does not come within {FETCHED_WITHIN_S:.0f} s") from error
        finally:
            self._reader.finish(reading)
        raise _gone(source)


def _gone(source: Source) -> DecodeError:
    return DecodeError("empty-record", f"the original is not in {source.topic} any more: its producer has to send it")


async def record_for(outbox: Outbox, letter: DeadLetter) -> Record:
    """Return the record to send: the letter's bytes under its record's key, to the partition it came from."""
    topic, partition, _ = letter.source
    key = key_for(letter)
    numbers = list(range(await outbox.partition_count(topic)))
    # The partition that its action's records are in; only a topic made anew with fewer lacks it.
    to = partition if partition in numbers else DefaultPartitioner()(key, numbers, numbers)
    return Record(topic, to, key, letter.raw)


def _mark(letter: DeadLetter, now_ms: int) -> Record:
    return Record(DEAD_LETTERS, letter.letter_partition, mark_key(letter.source), mark_value(letter.source, now_ms))


def chunks(letters: Sequence[DeadLetter]) -> Iterator[Sequence[DeadLetter]]:
    """Cut letters, each of one topic: what is delivered together has no order between topics."""
    for _, group in groupby(letters, key=lambda letter: letter.source.topic):
        of_topic = list(group)
        for start in range(0, len(of_topic), CHUNK_LETTERS):
            yield of_topic[start : start + CHUNK_LETTERS]
