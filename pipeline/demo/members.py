"""Which workers have partitions, as the broker's group coordinator tells."""

from __future__ import annotations

import asyncio
import time

from confluent_kafka import ConsumerGroupState, KafkaException
from confluent_kafka.admin import AdminClient

from pipeline.demo.failure import DemoError
from pipeline.stream.log.topics import DECISIONS

ASSIGNED_WITHIN_S = 90.0
_ASK_EVERY_S = 0.5
_LOG_NOTHING = 0  # a syslog level


async def wait_for_partitions(broker: str, app_id: str, workers: int) -> None:
    """Wait until each of `workers` has partitions of `decisions`.

    Raises:
        DemoError: they did not in time.
    """
    admin = AdminClient({"bootstrap.servers": broker, "log_level": _LOG_NOTHING})
    deadline_s = time.monotonic() + ASSIGNED_WITHIN_S
    while True:
        counts = await asyncio.to_thread(_partition_counts, admin, app_id)
        if len(counts) == workers and all(counts):
            return
        if time.monotonic() > deadline_s:
            raise DemoError(
                f"{workers} workers should have partitions, but the members of group {app_id} have {counts}: "
                "not as expected after 90 s"
            )
        await asyncio.sleep(_ASK_EVERY_S)


def _partition_counts(admin: AdminClient, app_id: str) -> list[int]:
    """Return how many partitions of `decisions` each member has; nothing while the group changes."""
    try:
        group = admin.describe_consumer_groups([app_id])[app_id].result()
    except KafkaException:
        return []
    if group.state != ConsumerGroupState.STABLE:
        return []
    return [
        sum(partition.topic == DECISIONS for partition in member.assignment.topic_partitions)
        for member in group.members
    ]
