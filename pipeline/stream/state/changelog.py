"""Read one partition of a changelog as fast as the broker gives it.

A consumer makes an object of twelve fields of each record, which costs more than all else that restoring does. Here the
fetches are asked for directly, over a connection that is there anyway, and aiokafka's parser is asked only for what is
needed of a record. While one fetch is used, the next is on its way.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError, LeaderNotAvailableError, OffsetOutOfRangeError
from aiokafka.protocol.fetch import FetchRequest

from pipeline.errors import AwayError
from pipeline.stream.log.fetch import Content, content_of
from pipeline.stream.log.offsets import EARLIEST_MS, READ_COMMITTED, ask_offsets, sure
from pipeline.stream.log.reader import Part
from pipeline.stream.refusals import check

FETCH_BYTES = 16 << 20
FETCH_WAIT_MS = 200
RETRY_S = 0.1
STILL_WITHIN_S = 60.0
"""A broker that gives nothing for so long, before the end that it named, is not there."""


class ChangelogReader:
    """Reads one partition from an offset on."""

    def __init__(self, client: AIOKafkaClient, topic: str, partition: int) -> None:
        self._client = client
        self._partition = TopicPartition(topic, partition)

    async def read(self, start: int, until: int) -> AsyncGenerator[Sequence[Any], None]:
        """Yield the record batches of each fetch (iterable, with `base_offset` and `next_offset`), by offset.

        The first may begin before `start`: the broker gives whole batches. The last holds `until`, or what came
        behind it in its place.

        Raises:
            AwayError: the broker stopped answering.
        """
        position = start
        fetching = asyncio.create_task(self._fetch(position))
        try:
            while position <= until:
                batches, position = await fetching
                if position <= until:
                    fetching = asyncio.create_task(self._fetch(position))
                if batches:
                    yield batches
        finally:
            fetching.cancel()
            await asyncio.gather(fetching, return_exceptions=True)

    async def _fetch(self, offset: int) -> Content:
        """Ask until there is something, be it a marker; return it."""
        deadline_s = time.monotonic() + STILL_WITHIN_S
        fault: KafkaError | None = None
        while time.monotonic() < deadline_s:
            try:
                content = await self._ask(offset)
                if content.resume_offset > offset:
                    return content
            except OffsetOutOfRangeError:
                offset = await self._earliest()
            except KafkaError as error:
                fault = error
                await asyncio.sleep(RETRY_S)
                await self._client.force_metadata_update()
        topic, number = self._partition
        raise AwayError(
            f"{topic}/{number} gives nothing at offset {offset} for {STILL_WITHIN_S:.0f} s: {fault!r}"
        ) from fault

    async def _ask(self, offset: int) -> Content:
        topic, number = self._partition
        wanted = [(topic, [(number, offset, FETCH_BYTES)])]
        leader = self._client.cluster.leader_for_partition(self._partition)
        if leader is None or leader < 0:
            raise LeaderNotAvailableError
        answer = await self._client.send(leader, FetchRequest(FETCH_WAIT_MS, 1, FETCH_BYTES, READ_COMMITTED, wanted))
        check(getattr(answer, "error_code", 0))
        ((_, ((_, code, high_watermark, *rest),)),) = answer.topics
        check(code)
        part = Part.of(answer.API_VERSION, high_watermark, rest)
        if not part.raw:  # offsets up to the end without anything in them
            return Content((), max(offset, part.stable_offset))
        return content_of(part.raw, offset, part.aborted)

    async def _earliest(self) -> int:
        """Return the first offset that the broker still has."""
        leader = self._client.cluster.leader_for_partition(self._partition)
        told = await ask_offsets(self._client, leader, [self._partition], EARLIEST_MS)
        return sure(told[self._partition])
