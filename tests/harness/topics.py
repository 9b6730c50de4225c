"""The topics of one test, on a Kafka that several tests use one after the other."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from aiokafka.admin import AIOKafkaAdminClient

from pipeline.stream.log.topics import TopicSpec, create_topics, topic_specs

GONE_WITHIN_S = 30.0


async def make_topics(broker: str, app_id: str, partitions: int) -> None:
    """Make all topics of a deployment, empty; those that are there, with whatever they hold, are deleted first.

    The changelogs and the offsets of its consumer group are a deployment's own if its `app_id` is.
    """
    await make_specs(broker, topic_specs(app_id, partitions))


async def make_specs(broker: str, specs: Sequence[TopicSpec]) -> None:
    """Make these topics, empty."""
    await delete_topics(broker, {spec.name for spec in specs})
    await create_topics(broker, specs)


async def delete_topics(broker: str, names: set[str]) -> None:
    """Delete those of these topics that are there, and wait until they are gone."""
    admin = AIOKafkaAdminClient(bootstrap_servers=broker)
    await admin.start()
    try:
        await admin.delete_topics(sorted(names & set(await admin.list_topics())))
        deadline = time.monotonic() + GONE_WITHIN_S
        while names & set(await admin.list_topics()):
            assert time.monotonic() < deadline, f"topics are still there after {GONE_WITHIN_S:.0f} s"
            await asyncio.sleep(0.05)
    finally:
        await admin.close()
