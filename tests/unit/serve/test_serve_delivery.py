from __future__ import annotations

import asyncio
import gc
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    NotEnoughReplicasError,
    RequestTimedOutError,
    UnknownTopicOrPartitionError,
)

from pipeline.codec.murmur2 import partition_of
from pipeline.errors import ConfigError
from pipeline.serve.delivery import batch_sender, stuck
from pipeline.serve.delivery import delivery as module
from pipeline.serve.delivery.delivery import Delivery
from pipeline.serve.delivery.frames import Parcel
from pipeline.serve.delivery.spill import Spill
from pipeline.serve.delivery.spill_folder import SpillFolder
from pipeline.stream.log.topics import DECISIONS, OUTCOMES, SHADOW_DECISIONS

WITHIN_S = 10.0
ROOM = 1 << 20


class Producer:
    """Stands in for aiokafka's: acknowledges at once, but for what a test lets go wrong."""

    def __init__(self) -> None:
        self.arrived: list[tuple[str, bytes, bytes]] = []
        self.logs: defaultdict[tuple[str, int], list[bytes]] = defaultdict(list)
        """Values by topic and partition."""
        self.sent = 0
        """Batches."""
        self.batches = 0
        """Those of them that were acknowledged."""
        self.partitions = defaultdict[str, int](lambda: 4)
        self.start_failures: list[Exception] = []
        self.send_failures: list[Exception] = []
        """Raised by `send_batch` itself, as when its buffer stays full."""
        self.lost: dict[bytes, list[Exception]] = defaultdict(list)
        """By value: failures of the batch that has it."""
        self.stuck: set[int] = set()
        """Partitions that take nothing: a batch for one of them fails when it is let go on."""
        self.tries = 0
        """Batches for one of them."""
        self.is_held = asyncio.Event()
        """Clear: acknowledgements wait."""
        self.is_held.set()
        self.unknown: set[str] = set()
        """Topics that the broker doesn't have."""
        self.starts = 0
        self.stops = 0

    async def start(self) -> None:
        self.starts += 1
        if self.start_failures:
            raise self.start_failures.pop(0)

    async def stop(self) -> None:
        self.stops += 1

    async def partitions_for(self, topic: str) -> set[int]:
        if topic in self.unknown:
            raise UnknownTopicOrPartitionError
        return set(range(self.partitions[topic]))

    def create_batch(self) -> Batch:
        return Batch()

    async def send_batch(self, batch: Batch, topic: str, *, partition: int) -> asyncio.Future[Any]:
        assert batch.is_closed, "others could add to it"
        if self.send_failures:
            raise self.send_failures.pop(0)
        self.sent += 1
        # As aiokafka does: what it holds is not cancelled with whoever waits for it.
        return asyncio.shield(asyncio.ensure_future(self._acknowledge(batch, topic, partition)))

    async def _acknowledge(self, batch: Batch, topic: str, partition: int) -> None:
        await self.is_held.wait()
        if partition in self.stuck:
            self.tries += 1
            raise NotEnoughReplicasError
        for _, value in batch.records:
            if self.lost[value]:
                raise self.lost[value].pop(0)
        self.arrived += [(topic, key, value) for key, value in batch.records]
        self.logs[topic, partition] += [value for _, value in batch.records]
        self.batches += 1

    @property
    def values(self) -> list[bytes]:
        return [value for _, _, value in self.arrived]


class Batch:
    """Stands in for aiokafka's builder: full at `BATCH_BYTES`, but for a first record of any size."""

    def __init__(self) -> None:
        self.records: list[tuple[bytes, bytes]] = []
        self.is_closed = False
        self._bytes = 0

    def append(self, *, key: bytes, value: bytes, timestamp: None) -> object | None:
        assert timestamp is None
        size = len(key) + len(value)
        if self.is_closed or (self.records and self._bytes + size > module.BATCH_BYTES):
            self.is_closed = True
            return None
        self._bytes += size
        self.records.append((key, value))
        return object()

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture(autouse=True)
def _retry_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for each in (module, stuck):
        monkeypatch.setattr(each, "RETRY_S", 0.001)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while True:
            if condition():
                return
            await asyncio.sleep(0)


@asynccontextmanager
async def delivering(
    producer: Producer, capacity_bytes: int = ROOM, spill: SpillFolder | None = None
) -> AsyncIterator[Delivery]:
    delivery = Delivery("broker:1", capacity_bytes, spill=spill, open_producer=lambda _: producer)
    task = asyncio.create_task(delivery.deliver())
    try:
        async with asyncio.timeout(WITHIN_S):
            yield delivery
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        delivery.close()


async def test_what_is_sent_arrives_with_its_key_where_its_key_belongs() -> None:
    producer = Producer()
    async with delivering(producer) as delivery:
        delivery.send(DECISIONS, b"a", b"1")
        delivery.send(OUTCOMES, b"a", b"2")
        delivery.send(DECISIONS, b"b", b"3")
        await delivery.flush()
        assert sorted(producer.arrived) == [(DECISIONS, b"a", b"1"), (DECISIONS, b"b", b"3"), (OUTCOMES, b"a", b"2")]
        # JOIN finds an action's records in partitions of one number.
        assert set(producer.logs) == {
            (DECISIONS, partition_of(b"a", 4)),
            (OUTCOMES, partition_of(b"a", 4)),
            (DECISIONS, partition_of(b"b", 4)),
        }
        assert (delivery.delivered, delivery.undelivered, delivery.failures) == (3, 0, 0)


async def test_a_partitions_records_go_as_few_batches_in_their_order() -> None:
    producer = Producer()
    async with delivering(producer) as delivery:
        large = module.BATCH_BYTES // 2 - 1
        values = [b"%d" % number * (large if number % 3 == 0 else 1) for number in range(10)]
        for value in values:
            delivery.send(DECISIONS, b"", value)
        await delivery.flush()
        assert producer.values == values
        # Two large ones and two small ones fill a batch to the byte: 0 to 3; then 4 to 8, and 9 has no room there.
        assert producer.batches == 3


async def test_flushing_with_nothing_to_deliver_waits_for_nothing() -> None:
    await Delivery("broker:1", ROOM).flush()


async def test_more_than_a_round_is_delivered_by_rounds() -> None:
    producer = Producer()
    async with delivering(producer) as delivery:
        values = [b"%d" % number for number in range(batch_sender.ROUND_RECORDS + 1)]
        for value in values:
            delivery.send(DECISIONS, b"", value)
        assert len(delivery._next_round()) == batch_sender.ROUND_RECORDS
        await delivery.flush()
        assert producer.values == values


async def test_a_round_is_bounded_in_bytes_but_takes_a_larger_record_alone() -> None:
    delivery = Delivery("broker:1", 8 * batch_sender.ROUND_BYTES)
    for size in (batch_sender.ROUND_BYTES + 1, 10, batch_sender.ROUND_BYTES - 10, 1):
        delivery.send(DECISIONS, b"", bytes(size))
    assert len(delivery._next_round()) == 1
    delivery._waiting.popleft()
    assert len(delivery._next_round()) == 2


async def test_what_is_not_acknowledged_is_sent_again_until_it_is() -> None:
    producer = Producer()
    producer.lost[b"2"] = [RequestTimedOutError(), KafkaConnectionError()]
    async with delivering(producer) as delivery:
        for value in (b"1", b"2", b"3"):
            delivery.send(DECISIONS, b"", value)
        await delivery.flush()
        # They are one batch.
        assert producer.values == [b"1", b"2", b"3"]
        assert (delivery.delivered, delivery.failures, delivery.dropped) == (3, 2, 0)
        assert not delivery.is_failing
    assert producer.starts == producer.stops == 3


async def test_what_is_acknowledged_is_not_sent_again_with_what_is_not() -> None:
    producer = Producer()
    producer.lost[b"2"] = [RequestTimedOutError()]
    async with delivering(producer) as delivery:
        delivery.send(DECISIONS, b"a", b"1")
        delivery.send(OUTCOMES, b"a", b"2")
        delivery.send(DECISIONS, b"a", b"3")
        await delivery.flush()
        assert producer.values == [b"1", b"3", b"2"]
        assert (delivery.delivered, delivery.failures) == (3, 1)


async def test_a_producer_that_takes_no_more_is_tried_again_from_there() -> None:
    producer = Producer()
    producer.send_failures = [KafkaTimeoutError()]
    async with delivering(producer) as delivery:
        for value in (b"1", b"2"):
            delivery.send(DECISIONS, b"", value)
        await delivery.flush()
        assert producer.values == [b"1", b"2"]
        assert delivery.failures == 1


async def test_a_topic_that_is_not_there_does_not_hold_the_others_back() -> None:
    producer = Producer()
    producer.unknown = {SHADOW_DECISIONS}
    async with delivering(producer) as delivery:
        delivery.send(SHADOW_DECISIONS, b"a", b"1")
        delivery.send(DECISIONS, b"a", b"2")
        await until(lambda: delivery.failures > 0)
        assert (producer.values, delivery.undelivered) == ([b"2"], 1)
        producer.unknown.clear()
        await delivery.flush()
        assert producer.values == [b"2", b"1"]


async def test_a_broker_that_is_away_from_the_start_is_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    producer = Producer()
    away = KafkaConnectionError
    producer.start_failures = [away("away"), away("away"), KafkaTimeoutError(), away("away")]
    async with delivering(producer) as delivery:
        delivery.send(DECISIONS, b"", b"1")
        await delivery.flush()
        assert producer.values == [b"1"]
        assert delivery.failures == 4
    # Once for each change of what is wrong, and once when it works again.
    assert caplog.text.count("delivery-failed broker=broker:1 undelivered=1") == 3
    assert caplog.text.count("delivery-works-again") == 1


async def test_a_record_that_the_broker_never_takes_is_let_go_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    producer = Producer()
    producer.lost[b"large"] = [MessageSizeTooLargeError()] * 9
    async with delivering(producer) as delivery:
        for value in (b"1", b"large", b"2"):
            delivery.send(DECISIONS, b"k", value)
        await delivery.flush()
        # Not the batch that it was in: its neighbours are sent alone then.
        assert producer.values == [b"1", b"2"]
        assert (delivery.delivered, delivery.dropped, delivery.failures) == (2, 1, 0)
    assert "record-refused-by-broker topic=decisions key=b'k'" in caplog.text


async def test_without_room_the_newest_is_dropped_counted_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    producer = Producer()
    producer.is_held.clear()
    async with delivering(producer, capacity_bytes=100) as delivery:
        for _ in range(15):
            delivery.send(DECISIONS, b"12345", b"12345")
        assert (delivery.undelivered, delivery.dropped) == (10, 5)  # 10 bytes each
        producer.is_held.set()
        await delivery.flush()
        assert caplog.text.count("buffer-full") == 1
        delivery.send(DECISIONS, b"", bytes(100))  # there is room again
        delivery.send(DECISIONS, b"", b"1")
        assert (delivery.dropped, caplog.text.count("buffer-full")) == (6, 2)


async def test_what_waits_counts_until_it_is_acknowledged() -> None:
    producer = Producer()
    producer.is_held.clear()
    async with delivering(producer) as delivery:
        delivery.send(DECISIONS, b"", b"1")
        flushing = asyncio.create_task(delivery.flush())
        for _ in range(10):
            await asyncio.sleep(0)
        assert delivery.undelivered == 1
        assert not flushing.done()
        producer.is_held.set()
        await flushing
        assert delivery.undelivered == 0


# With four partitions `a` goes to one and `d` to another.
A, D = partition_of(b"a", 4), partition_of(b"d", 4)


async def test_a_partition_that_takes_nothing_holds_back_only_itself_and_nothing_goes_twice(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert A != D
    producer = Producer()
    producer.stuck = {A}
    async with delivering(producer) as delivery:
        for number in range(20):
            delivery.send(DECISIONS, b"a", b"a%d" % number)
            delivery.send(DECISIONS, b"d", b"b%d" % number)
            await until(lambda number=number: delivery.delivered > number)  # type: ignore[misc]
        await until(lambda: delivery.undelivered == 20 and not delivery._waiting)
        assert delivery.stuck == [(DECISIONS, A)]
        assert (delivery.is_failing, delivery.undelivered) == (False, 20)
        producer.stuck.clear()
        await delivery.flush()
        assert producer.logs[DECISIONS, A] == [b"a%d" % number for number in range(20)]
        assert producer.logs[DECISIONS, D] == [b"b%d" % number for number in range(20)]
        assert (delivery.delivered, delivery.stuck) == (40, [])
    assert producer.starts == 1, "others go on with their producer"
    assert caplog.text.count("partition-takes-nothing topic=decisions") == 1
    assert caplog.text.count("partition-works-again topic=decisions") == 1


async def test_what_a_silent_partition_took_after_all_does_not_go_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SPILL_AFTER_S", 0.01)
    for folder in (None, tmp_path):
        producer = Producer()
        silent = asyncio.Event()
        answer = producer._acknowledge

        async def acknowledge(
            batch: Batch, topic: str, partition: int, silent: asyncio.Event = silent, answer: Any = answer
        ) -> None:
            if partition == A:
                await silent.wait()
            await answer(batch, topic, partition)

        monkeypatch.setattr(producer, "_acknowledge", acknowledge)
        async with delivering(producer, spill=None if folder is None else SpillFolder(folder, ROOM)) as delivery:
            delivery.send(DECISIONS, b"a", b"1")
            delivery.send(DECISIONS, b"d", b"2")
            await until(lambda delivery=delivery: delivery.stuck == [(DECISIONS, A)])  # type: ignore[misc]
            delivery.send(DECISIONS, b"a", b"3")
            delivery.send(DECISIONS, b"d", b"4")
            await until(lambda delivery=delivery: delivery.delivered == 2)  # type: ignore[misc]
            assert delivery.spilled == (0 if folder is None else 2)
            silent.set()
            await delivery.flush()
            assert sorted(producer.values) == [b"1", b"2", b"3", b"4"]
            assert (delivery.delivered, delivery.dropped) == (4, 0)


async def test_what_waits_for_a_partition_is_on_disk_and_the_next_process_passes_the_partition_by(
    tmp_path: Path,
) -> None:
    producer = Producer()
    producer.stuck = {A}
    async with delivering(producer, spill=SpillFolder(tmp_path, ROOM)) as delivery:
        delivery.send(DECISIONS, b"a", b"1")
        delivery.send(DECISIONS, b"d", b"2")
        await until(lambda: delivery.spilled == 1)
    async with delivering(producer, spill=SpillFolder(tmp_path, ROOM)) as delivery:
        assert (delivery.stuck, delivery.undelivered) == ([(DECISIONS, A)], 1)
        delivery.send(DECISIONS, b"d", b"3")
        await until(lambda: b"3" in producer.values)
        producer.stuck.clear()
        await delivery.flush()
        assert producer.values == [b"2", b"3", b"1"]


async def test_a_spilled_outage_goes_on_to_the_partitions_that_work(tmp_path: Path) -> None:
    producer = Producer()
    producer.start_failures = [KafkaConnectionError("away")]
    producer.stuck = {A}
    async with delivering(producer, spill=SpillFolder(tmp_path, ROOM)) as delivery:
        for number in range(2 * batch_sender.ROUND_RECORDS):
            delivery.send(DECISIONS, (b"a", b"d")[number % 2], b"%d" % number)
        await until(lambda: delivery.delivered == batch_sender.ROUND_RECORDS)
        assert (delivery.spilled, delivery.is_failing) == (batch_sender.ROUND_RECORDS, False)
        producer.stuck.clear()
        await delivery.flush()
        assert len(producer.values) == len(set(producer.values)) == 2 * batch_sender.ROUND_RECORDS


async def test_what_the_disk_has_kept_is_not_dropped_where_it_can_not_be_put_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    producer = Producer()
    producer.start_failures = [KafkaConnectionError("away")]
    producer.stuck = {A}
    monkeypatch.setattr(module, "ROUND_RECORDS", 10)
    async with delivering(producer, capacity_bytes=100, spill=SpillFolder(tmp_path, ROOM)) as delivery:
        delivery.send(DECISIONS, b"d", b"%09d" % 0)
        await until(lambda: delivery.is_failing)
        for number in range(1, 100):  # 10 bytes each, ten times what memory has room for
            delivery.send(DECISIONS, (b"d", b"a")[number % 2], b"%09d" % number)
        monkeypatch.setattr(Spill, "append", lambda *_: False)
        # Rounds of ten, five of them for A: what is held stays at half of the memory and a round.
        await until(lambda: delivery._stuck.held_bytes == 50 + 50)
        assert delivery.dropped == 0
        producer.stuck.clear()
        await delivery.flush()
        assert len(producer.values) == len(set(producer.values)) == delivery.delivered == 100


async def test_a_partition_that_takes_nothing_may_have_half_of_the_memory() -> None:
    producer = Producer()
    producer.stuck = {A}
    async with delivering(producer, capacity_bytes=100) as delivery:
        for number in range(9):  # 10 bytes each
            delivery.send(DECISIONS, b"a", b"%09d" % number)
            delivery.send(DECISIONS, b"d", b"%09d" % number)
            await until(lambda number=number: delivery.delivered > number and not delivery._waiting)  # type: ignore[misc]
        assert (delivery.undelivered, delivery.dropped) == (5, 4)


async def test_topics_of_different_partition_counts_are_refused() -> None:
    producer = Producer()
    producer.partitions[OUTCOMES] = 8
    delivery = Delivery("broker:1", ROOM, open_producer=lambda _: producer)
    with pytest.raises(ConfigError, match=r"decisions has 4 partitions and outcomes 8"):
        await delivery.deliver()
    assert producer.stops == 1


async def test_while_the_broker_is_away_records_wait_on_disk_and_arrive_afterwards(tmp_path: Path) -> None:
    producer = Producer()
    producer.start_failures = [KafkaConnectionError("away")] * 3
    spill = SpillFolder(tmp_path, ROOM)
    async with delivering(producer, spill=spill) as delivery:
        delivery.send(DECISIONS, b"a", b"1")
        await until(lambda: delivery.spilled > 0)
        delivery.send(OUTCOMES, b"a", b"2")
        assert (delivery.spilled, delivery._waiting_bytes) == (2, 0)
        await delivery.flush()
        assert producer.arrived == [(DECISIONS, b"a", b"1"), (OUTCOMES, b"a", b"2")]
        assert (delivery.undelivered, delivery.dropped, delivery.is_failing) == (0, 0, False)


async def test_a_round_that_takes_too_long_is_on_disk_before_it_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SPILL_AFTER_S", 0.01)
    producer = Producer()
    producer.is_held.clear()
    async with delivering(producer, spill=SpillFolder(tmp_path, ROOM)) as delivery:
        for value in (b"1", b"2"):
            delivery.send(DECISIONS, b"", value)
        await until(lambda: delivery.spilled == 2)
        delivery.send(DECISIONS, b"", b"3")
        assert delivery.spilled == 3
        producer.is_held.set()
        await delivery.flush()
        # The round arrived after all, and so does not come from the disk once more.
        assert sorted(producer.values) == [b"1", b"2", b"3"]


async def test_a_disk_without_room_leaves_the_rest_in_memory_and_sheds_what_finds_none(tmp_path: Path) -> None:
    producer = Producer()
    producer.start_failures = [KafkaConnectionError("away")] * 5
    # A frame of these is 8 + 4 + 9 + 5 + 5 = 31 bytes: two fit. In memory one takes 10.
    async with delivering(producer, 20, spill=SpillFolder(tmp_path, 70)) as delivery:
        delivery.send(DECISIONS, b"12345", b"1____")
        await until(lambda: delivery.is_failing)
        for value in (b"2____", b"3____", b"4____", b"5____"):
            delivery.send(DECISIONS, b"12345", value)
        assert (delivery.spilled, delivery.undelivered, delivery.dropped) == (2, 4, 1)
        await delivery.flush()
        assert sorted(producer.values) == [b"1____", b"2____", b"3____", b"4____"]


async def test_what_an_earlier_process_left_is_delivered_first_of_all(tmp_path: Path) -> None:
    left = SpillFolder(tmp_path, ROOM)
    left.waiting.append(Parcel(DECISIONS, b"a", b"1"))
    left.close()
    producer = Producer()
    async with delivering(producer, spill=SpillFolder(tmp_path, ROOM)) as delivery:
        await delivery.flush()
        assert producer.arrived == [(DECISIONS, b"a", b"1")]


async def test_at_its_end_what_waits_in_memory_goes_to_disk(tmp_path: Path) -> None:
    delivery = Delivery("broker:1", ROOM, spill=SpillFolder(tmp_path, ROOM))
    delivery.send(DECISIONS, b"a", b"1")
    assert delivery.close() == 0
    found = SpillFolder(tmp_path, ROOM)
    assert found.waiting.next_round(9, ROOM) == [Parcel(DECISIONS, b"a", b"1")]
    found.close()
    without = Delivery("broker:1", ROOM)
    without.send(DECISIONS, b"a", b"1")
    assert without.close() == 1


async def test_whoever_would_rather_be_slow_waits_for_room_but_not_for_ever() -> None:
    producer = Producer()
    producer.is_held.clear()
    async with delivering(producer, capacity_bytes=100) as delivery:
        for _ in range(6):  # 10 bytes each: more than half
            await delivery.wait_for_room(WITHIN_S)
            delivery.send(DECISIONS, b"12345", b"12345")
        await delivery.wait_for_room(0.01)
        waiting = asyncio.create_task(delivery.wait_for_room(WITHIN_S))
        for _ in range(10):
            await asyncio.sleep(0)
        assert not waiting.done()
        producer.is_held.set()
        await waiting
        assert (delivery.dropped, delivery._waiting_bytes <= 50) == (0, True)


async def test_a_record_that_the_producer_lets_go_of_is_sent_again() -> None:
    producer = Producer()
    producer.lost[b"1"] = [asyncio.CancelledError()]  # type: ignore[list-item]
    async with delivering(producer) as delivery:
        delivery.send(DECISIONS, b"a", b"1")
        await delivery.flush()
        assert producer.values == [b"1"]
        assert delivery.failures == 1


async def test_what_fails_after_a_node_has_stopped_waiting_for_it_is_no_error_of_the_loops() -> None:
    told: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    producer = Producer()
    producer.is_held.clear()
    producer.lost[b"1"] = [KafkaConnectionError("away")]
    async with delivering(producer) as delivery:
        delivery.send(DECISIONS, b"a", b"1")
        await until(lambda: delivery._waiting_bytes > 0 and producer.sent > 0)
    producer.is_held.set()
    await until(lambda: not producer.lost[b"1"])
    for _ in range(3):
        await asyncio.sleep(0)
    gc.collect()
    assert told == []
