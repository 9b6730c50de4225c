"""Read `dead-letters`, and send letters back to where they came from.

A replay is at least once, and once in effect: JOIN knows a decision by its action_id and an outcome by its outcome_id,
so one that it has already is a duplicate, and one whose action is no longer held is refused again. A letter is marked
after its record was acknowledged: what an interrupted replay did not mark is sent again by the next.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from aiokafka.partitioner import DefaultPartitioner

from pipeline.replay.dead_letters.letters import DeadLetter, Gathered, gather, key_for, mark_key, mark_value
from pipeline.stream.log.follow import TopicFollower
from pipeline.stream.log.outbox import Outbox, Record
from pipeline.stream.log.topics import DEAD_LETTERS
from pipeline.stream.security import Address

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


async def send_back(broker: Address, letters: Sequence[DeadLetter], now_ms: int) -> None:
    """Send letters, as `plan_replay` ordered them, and mark them.

    Raises:
        UnavailableError: not acknowledged; some may have been sent.
    """
    if not letters:
        return
    outbox = Outbox(broker)
    try:
        await outbox.start()
        for chunk in chunks(letters):
            await outbox.deliver([await record_for(outbox, letter) for letter in chunk])
            await outbox.deliver(_mark(letter, now_ms) for letter in chunk)
    finally:
        await outbox.stop()


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
