"""Follow what comes, what is refused and what is credited, from now on, outside of any consumer group."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from pipeline.codec.framed import schema_ids
from pipeline.producers.told import TOPICS, Told, told_of
from pipeline.registry.lookup import Schemas
from pipeline.stream.log.follow import entries, taken
from pipeline.stream.log.offsets import LATEST_MS
from pipeline.stream.log.reader import LogReader
from pipeline.stream.security import Address


async def tail(broker: Address, schemas: Schemas) -> AsyncGenerator[Told, None]:
    """Yield what each record tells that comes from now on.

    Raises:
        UnavailableError: no broker answers, or a topic may not be read.
    """
    reader, has_come = LogReader(broker), asyncio.Event()
    await reader.start()
    try:
        ends = await reader.offsets(
            [place for topic in TOPICS for place in await reader.partitions_of(topic)], LATEST_MS
        )
        readings = [reader.begin(place, end, has_come, asyncio.Event()) for place, end in ends.items()]
        while True:
            await has_come.wait()
            has_come.clear()
            found = [entry for batch in taken(readings) for entry in entries(batch)]
            await schemas.look_up(schema_ids(entry.value for entry in found if entry.topic in TOPICS[:2]))
            for one in found:
                told = told_of(one.topic, one.partition, one.offset, one.timestamp, one.value, schemas)
                if told is not None:
                    yield told
    finally:
        await reader.stop()
