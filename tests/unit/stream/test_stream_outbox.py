from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from aiokafka.errors import KafkaTimeoutError
from aiokafka.producer.message_accumulator import BatchBuilder

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
