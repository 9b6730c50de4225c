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
from aiokafka.errors import KafkaError, LeaderNotAvailableError, OffsetOutOfRangeError, for_code
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.offset import OffsetRequest
from aiokafka.record import MemoryRecords

from pipeline.errors import UnavailableError

FETCH_BYTES = 16 << 20
FETCH_WAIT_MS = 200
RETRY_S = 0.1
STILL_WITHIN_S = 60.0
"""A broker that gives nothing for so long, before the end that it named, is not there."""

_CONSUMER = -1
_READ_UNCOMMITTED = 0
_EARLIEST_MS = -2


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
            UnavailableError: the broker stopped answering.
        """
        position = start
        fetching = asyncio.create_task(self._fetch(position))
        try:
            while position <= until:
                batches = await fetching
                position = batches[-1].next_offset
                if position <= until:
                    fetching = asyncio.create_task(self._fetch(position))
                # Markers that the broker itself has written.
                if records := [batch for batch in batches if not batch.is_control_batch]:
                    yield records
        finally:
            fetching.cancel()
            await asyncio.gather(fetching, return_exceptions=True)

    async def _fetch(self, offset: int) -> Sequence[Any]:
        """Ask until there is something; return its batches, at least one."""
        deadline_s = time.monotonic() + STILL_WITHIN_S
        fault: KafkaError | None = None
        while time.monotonic() < deadline_s:
            try:
                if batches := await self._ask(offset):
                    return batches
            except OffsetOutOfRangeError:
                offset = await self._earliest()
            except KafkaError as error:
                fault = error
                await asyncio.sleep(RETRY_S)
                await self._client.force_metadata_update()
        topic, number = self._partition
        raise UnavailableError(
            f"{topic}/{number} gives nothing at offset {offset} for {STILL_WITHIN_S:.0f} s: {fault!r}"
        ) from fault

    async def _ask(self, offset: int) -> Sequence[Any]:
        topic, number = self._partition
        wanted = [(topic, [(number, offset, FETCH_BYTES)])]
        answer = await self._send(FetchRequest(FETCH_WAIT_MS, 1, FETCH_BYTES, _READ_UNCOMMITTED, wanted))
        _check(getattr(answer, "error_code", 0))
        ((_, ((_, code, *_, content),)),) = answer.topics
        _check(code)
        records, batches = MemoryRecords(content or b""), []
        while records.has_next():
            batches.append(records.next_batch())
        return batches

    async def _earliest(self) -> int:
        """Return the first offset that the broker still has."""
        topic, number = self._partition
        answer = await self._send(OffsetRequest(_CONSUMER, _READ_UNCOMMITTED, [(topic, [(number, _EARLIEST_MS)])]))
        ((_, ((_, code, *_, offset),)),) = answer.topics
        _check(code)
        return int(offset)

    async def _send(self, request: Any) -> Any:
        leader = self._client.cluster.leader_for_partition(self._partition)
        if leader is None or leader < 0:
            raise LeaderNotAvailableError
        return await self._client.send(leader, request)


def _check(code: int) -> None:
    if code:
        error: KafkaError = for_code(code)()
        raise error
