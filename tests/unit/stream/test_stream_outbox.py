from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaTimeoutError, NotEnoughReplicasError, ProducerClosed, ProducerFenced
from aiokafka.producer.message_accumulator import BatchBuilder

from pipeline.errors import FencedError
from pipeline.stream.log.outbox import Outbox, Record

REFUSED_TIMES = 3


class FullProducer:
    """One whose batch before is not on its way yet, for longer than it waits."""

    def __init__(self) -> None:
        self.asked = 0

    def create_batch(self) -> Any:
        return BatchBuilder(batch_size=1_000, compression_type=0, is_transactional=False)

    async def send_batch(self, _builder: Any, _topic: str, *, partition: int) -> asyncio.Future[Any]:
        self.asked += 1
        if self.asked <= REFUSED_TIMES:
            raise KafkaTimeoutError
        told = asyncio.get_running_loop().create_future()
        told.set_result(SimpleNamespace(offset=partition))
        return told


async def test_a_batch_waits_for_its_place_as_long_as_the_one_before_it_takes() -> None:
    outbox = Outbox("127.0.0.1:1")
    producer = outbox._producer = FullProducer()
    async with asyncio.timeout(10):
        await outbox.deliver([Record("rewards", 0, b"key", b"value")])
    assert producer.asked == REFUSED_TIMES + 1


async def test_one_that_waits_for_its_place_hears_of_the_end_of_its_task() -> None:
    outbox = Outbox("127.0.0.1:1")
    producer = outbox._producer = NeverEmptyProducer()
    sending = asyncio.create_task(outbox.deliver([Record("rewards", 0, b"key", b"value")]))
    async with asyncio.timeout(10):
        await producer.was_full.wait()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending


class NeverEmptyProducer(FullProducer):
    """One whose batch before is never on its way."""

    def __init__(self) -> None:
        super().__init__()
        self.was_full = asyncio.Event()

    async def send_batch(self, _builder: Any, _topic: str, *, partition: int) -> asyncio.Future[Any]:
        del partition
        await asyncio.sleep(0)
        self.asked += 1
        if self.asked > REFUSED_TIMES:
            self.was_full.set()
        raise KafkaTimeoutError


class FencedProducer(FullProducer):
    """One that hears of a fence before it takes the batch."""

    async def send_batch(self, _builder: Any, _topic: str, *, partition: int) -> asyncio.Future[Any]:
        raise ProducerFenced(f"{partition}")


async def test_a_fence_that_is_heard_of_before_a_batch_is_on_its_way_is_a_fence() -> None:
    outbox = Outbox("127.0.0.1:1", "app-learn-0")
    outbox._producer = FencedProducer()
    with pytest.raises(FencedError, match="app-learn-0 was claimed by another worker"):
        await outbox.deliver([Record("rewards", 0, b"key", b"value")])


async def test_an_outbox_stops_though_its_partition_never_takes_what_was_sent() -> None:
    """Whoever sent it has been cut off; of an idempotent producer the batch would be tried for ever."""
    outbox = Outbox("127.0.0.1:1")
    producer = outbox._producer = AIOKafkaProducer(bootstrap_servers="127.0.0.1:1", enable_idempotence=True)
    is_tried_again = asyncio.Event()
    tried = 0

    async def take_nothing(*_: object, **__: object) -> None:
        nonlocal tried
        tried += 1
        if tried > 1:
            is_tried_again.set()
        raise NotEnoughReplicasError

    producer.client.send = take_nothing
    producer.client.cluster.leader_for_partition = lambda _: 1
    producer._txn_manager.set_pid_and_epoch(1, 0)
    await producer._sender.start()
    builder = producer.create_batch()
    builder.append(key=b"key", value=b"value", timestamp=None)
    sent = await producer._message_accumulator.add_batch(builder, TopicPartition("rewards", 0), 1.0)
    async with asyncio.timeout(10):
        await is_tried_again.wait()
        await outbox.stop()
    assert isinstance(sent.exception(), ProducerClosed)
