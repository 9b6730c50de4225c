"""What is asked of brokers, and what becomes of their answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_asyncio
from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError, TopicAuthorizationFailedError
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.offset import OffsetRequest

from pipeline.errors import UnavailableError
from pipeline.stream import record_batches
from pipeline.stream.log import reading as reading_room
from pipeline.stream.log.offsets import EARLIEST_MS, LATEST_MS
from pipeline.stream.log.reader import LogReader
from pipeline.stream.log.reading import End, Reading
from tests.kafka_log import COMMIT, Answer, Read, batch, fetched, marker

OUTCOMES = TopicPartition("outcomes", 0)
DECISIONS = TopicPartition("decisions", 0)
WITHIN_S = 20.0
NODE = 1
OFFSET_OUT_OF_RANGE, NOT_LEADER, TOPIC_AUTHORIZATION_FAILED = 1, 6, 29

Log = Callable[[int], Answer | int]
"""What a partition has from an offset on."""


def log_of(*batches: tuple[int, bytes], end: int) -> Log:
    """Return a log of (first offset, bytes)."""
    return lambda offset: (end, (), b"".join(raw for first, raw in batches if first >= offset))


class Broker:
    """A client of one broker, which answers what its logs hold; a request that finds nothing new waits for `more`."""

    def __init__(self, **_: Any) -> None:
        self.logs: dict[TopicPartition, Log] = {}
        self.bounds: dict[TopicPartition, tuple[int, int]] = {}
        self.asked: list[list[TopicPartition]] = []
        self.asked_offsets = 0
        self.refused: dict[TopicPartition, list[int]] = {}
        """Codes that are answered first, instead of offsets."""
        self.before_answer: Callable[[], Awaitable[None]] | None = None
        self.fault: Exception | None = None
        self.cluster = SimpleNamespace(leader_for_partition=lambda _: NODE)

    async def bootstrap(self) -> None: ...

    async def close(self) -> None: ...

    def add_topic(self, _: str) -> None: ...

    def force_metadata_update(self) -> None: ...

    def _offset(self, place: TopicPartition, moment_ms: int) -> tuple[int, int, int, int]:
        if codes := self.refused.get(place):
            return place.partition, codes.pop(0), -1, -1
        return place.partition, 0, 0, self.bounds[place][0 if moment_ms == EARLIEST_MS else 1]

    async def send(self, node: int, request: FetchRequest | OffsetRequest) -> Any:
        assert node == NODE
        if isinstance(request, OffsetRequest):
            self.asked_offsets += 1
            return SimpleNamespace(
                topics=[
                    (topic, [self._offset(TopicPartition(topic, number), moment_ms) for number, moment_ms in some])
                    for topic, some in request._topics
                ]
            )
        places = {TopicPartition(topic, p[0]): p[1] for topic, some in request.topics for p in some}
        self.asked.append(list(places))
        await (self.before_answer or pause)()
        if self.fault is not None:
            fault, self.fault = self.fault, None
            raise fault
        return fetched({place: self.logs[place](offset) for place, offset in places.items()})


async def pause() -> None:
    await asyncio.sleep(0.005)


class Bench:
    def __init__(self) -> None:
        self.broker = Broker()
        self.reader = LogReader("kafka:9092", lambda **_: self.broker)
        self.has_come, self.has_enough = asyncio.Event(), asyncio.Event()

    def begin(self, place: TopicPartition, offset: int) -> Reading:
        return self.reader.begin(place, offset, self.has_come, self.has_enough)

    async def until(self, look: Callable[[], bool]) -> None:
        async with asyncio.timeout(WITHIN_S):
            while not look():  # noqa: ASYNC110  of any condition
                await asyncio.sleep(0.001)


@pytest_asyncio.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    await made.reader.start()
    yield made
    await made.reader.stop()


async def test_what_came_is_taken_as_one_batch_that_says_what_it_covers(bench):
    """
    offset   3   4   5   6
             r   C   r   C │ stable end
    """
    bench.broker.logs[OUTCOMES] = log_of(
        (3, batch(3, b"a", producer=7, is_transactional=True)),
        (4, marker(4, 7, COMMIT)),
        (5, batch(5, b"b", producer=7, is_transactional=True)),
        (6, marker(6, 7, COMMIT)),
        end=7,
    )
    reading = bench.begin(OUTCOMES, 3)
    await bench.until(bench.has_come.is_set)
    taken = reading.take()
    assert (taken.first_offset, [r.value for r in taken.records], taken.resume_offset) == (3, [b"a", b"b"], 7)
    assert bench.reader.end(OUTCOMES).stable_offset == 7
    assert reading.take() is None


async def test_offsets_without_a_record_are_something_to_take(bench):
    bench.broker.logs[OUTCOMES] = log_of((3, marker(3, 7, COMMIT)), end=4)
    reading = bench.begin(OUTCOMES, 3)
    await bench.until(bench.has_come.is_set)
    taken = reading.take()
    assert (taken.first_offset, list(taken.records), taken.resume_offset) == (3, [], 4)


async def test_a_log_whose_last_offsets_hold_nothing_is_read_to_its_end(bench):
    """Compaction has removed 3 to 8 with their batches, as the last of a closed segment can be."""
    bench.broker.logs[OUTCOMES] = log_of(end=9)
    reading = bench.begin(OUTCOMES, 3)
    await bench.until(lambda: reading.position == 9)
    assert reading.take().resume_offset == 9


async def test_nothing_behind_the_stable_end_is_waited_for(bench):
    """An open transaction holds the end back, however much stands behind it."""
    bench.broker.logs[OUTCOMES] = log_of(end=3)
    reading = bench.begin(OUTCOMES, 3)
    await bench.until(lambda: reading.end is not None)
    assert (reading.position, reading.end.stable_offset, reading.has_waiting) == (3, 3, False)


async def test_a_partition_of_which_enough_waits_is_not_asked_for_until_it_is_taken(bench, monkeypatch):
    monkeypatch.setattr(reading_room, "ENOUGH_BYTES", 1)
    bench.broker.logs[OUTCOMES] = log_of((0, batch(0, b"r")), end=1)
    bench.broker.logs[DECISIONS] = log_of(end=0)
    reading = bench.begin(OUTCOMES, 0)
    bench.begin(DECISIONS, 0)
    await bench.until(bench.has_enough.is_set)
    seen = len(bench.broker.asked)
    await bench.until(lambda: len(bench.broker.asked) >= seen + 2)
    assert all(OUTCOMES not in asked for asked in bench.broker.asked[seen:])
    reading.take()
    seen = len(bench.broker.asked)
    await bench.until(lambda: any(OUTCOMES in asked for asked in bench.broker.asked[seen:]))


async def test_what_comes_for_a_reading_that_was_ended_meanwhile_is_dropped(bench):
    bench.broker.logs[OUTCOMES] = log_of((0, batch(0, b"r")), end=1)
    again: list[Reading] = []

    async def begin_anew() -> None:
        bench.broker.before_answer = None
        again.append(bench.begin(OUTCOMES, 1))

    bench.broker.before_answer = begin_anew
    first = bench.begin(OUTCOMES, 0)
    await bench.until(lambda: bool(again) and again[0].end is not None)
    assert (first.position, first.end, again[0].position) == (0, None, 1)


async def test_a_partition_that_nothing_came_of_is_first_in_the_next_request(bench):
    """A broker gives a batch of any size of the first, and of no other."""
    bench.broker.logs[DECISIONS] = lambda offset: (offset + 1, (), batch(offset, b"r"))
    bench.broker.logs[OUTCOMES] = log_of(end=0)
    bench.begin(DECISIONS, 0)
    bench.begin(OUTCOMES, 0)
    await bench.until(lambda: len(bench.broker.asked) > 1)
    assert bench.broker.asked[-1] == [OUTCOMES, DECISIONS]


async def test_offsets_that_are_gone_are_counted_and_covered(bench):
    bench.broker.logs[OUTCOMES] = lambda offset: OFFSET_OUT_OF_RANGE if offset < 5 else (6, (), batch(5, b"r"))
    bench.broker.bounds[OUTCOMES] = (5, 6)
    reading = bench.begin(OUTCOMES, 2)
    await bench.until(lambda: reading.position == 5)
    taken = reading.take()
    assert (taken.first_offset, list(taken.records), taken.resume_offset, taken.gone) == (2, [], 5, 3)
    await bench.until(lambda: reading.position == 6)
    taken = reading.take()
    assert (taken.first_offset, [record.value for record in taken.records], taken.gone) == (5, [b"r"], 0)


async def test_a_log_that_ends_before_what_was_read_of_it_is_not_read(bench):
    bench.broker.logs[OUTCOMES] = lambda _: OFFSET_OUT_OF_RANGE
    bench.broker.bounds[OUTCOMES] = (0, 4)
    reading = bench.begin(OUTCOMES, 9)
    await bench.until(lambda: reading.has_waiting)
    with pytest.raises(UnavailableError, match="ends at offset 4, and was read up to 9"):
        reading.take()


async def test_what_keeps_a_partition_from_being_read_is_its_own_matter(bench):
    bench.broker.logs[OUTCOMES] = lambda _: TOPIC_AUTHORIZATION_FAILED
    bench.broker.logs[DECISIONS] = log_of((0, batch(0, b"r")), end=1)
    refused, whole = bench.begin(OUTCOMES, 0), bench.begin(DECISIONS, 0)
    await bench.until(lambda: refused.has_waiting and whole.has_waiting)
    assert [record.value for record in whole.take().records] == [b"r"]
    with pytest.raises(TopicAuthorizationFailedError):
        refused.take()


async def test_what_unpacks_to_too_much_is_taken_in_pieces_that_go_on_from_each_other(monkeypatch):
    monkeypatch.setattr(record_batches, "ANSWER_BYTES", 1)
    reading = Reading(OUTCOMES, 0, asyncio.Event(), asyncio.Event(), asyncio.Event())
    reading.put([Read([SimpleNamespace(offset=offset)], unpacked_bytes=1) for offset in (0, 3)], 5)
    pieces = [reading.take(), reading.take()]
    assert [(piece.first_offset, piece.resume_offset) for piece in pieces] == [(0, 3), (3, 5)]


@pytest.mark.parametrize("fault", [KafkaConnectionError("away"), asyncio.CancelledError(), RuntimeError("a bug")])
async def test_whatever_a_request_comes_to_reading_goes_on(bench, fault):
    bench.broker.logs[OUTCOMES] = log_of((0, batch(0, b"r")), end=1)
    bench.broker.fault = fault
    reading = bench.begin(OUTCOMES, 0)
    await bench.until(lambda: reading.has_waiting)
    assert [record.value for record in reading.take().records] == [b"r"]


async def test_what_was_taken_before_its_end_was_read_stays_as_it_was():
    reading = Reading(OUTCOMES, 0, asyncio.Event(), asyncio.Event(), asyncio.Event())
    reading.end = End(2, 100)
    reading.put([], 2)
    assert reading.take().fetched_at_ms == 100


async def test_a_broker_is_asked_once_for_the_offsets_of_all_that_it_leads(bench):
    places = [TopicPartition(topic, number) for topic in ("decisions", "outcomes") for number in range(12)]
    bench.broker.bounds = {place: (place.partition, 100 + place.partition) for place in places}
    assert await bench.reader.offsets(places, EARLIEST_MS) == {place: place.partition for place in places}
    assert await bench.reader.offsets(places, LATEST_MS) == {place: 100 + place.partition for place in places}
    assert bench.broker.asked_offsets == 2


async def test_of_the_offsets_only_those_that_were_refused_are_asked_for_again(bench):
    bench.broker.bounds = {OUTCOMES: (0, 7), DECISIONS: (0, 9)}
    bench.broker.refused = {OUTCOMES: [NOT_LEADER]}
    assert await bench.reader.offsets([OUTCOMES, DECISIONS], LATEST_MS) == {OUTCOMES: 7, DECISIONS: 9}
    assert bench.broker.asked_offsets == 2


async def test_offsets_that_may_not_be_asked_for_are_not_asked_for_again(bench):
    bench.broker.bounds = {OUTCOMES: (0, 7), DECISIONS: (0, 9)}
    bench.broker.refused = {OUTCOMES: [TOPIC_AUTHORIZATION_FAILED]}
    with pytest.raises(TopicAuthorizationFailedError):
        await bench.reader.offsets([OUTCOMES, DECISIONS], LATEST_MS)
    assert bench.broker.asked_offsets == 1
