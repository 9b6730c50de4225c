"""How long no snapshot came, by the clock of the brokers that took them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from pipeline.publish.parts import part_of
from pipeline.stream.log.topics import SNAPSHOT_HISTORY
from tests.harness.client import Client

WITHIN_S = 30.0


def note_appending(broker: str) -> None:
    """Let the brokers say when they took each snapshot: a producer's time is of before it was sent."""
    entry = ConfigEntry("message.timestamp.type", "LogAppendTime", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, SNAPSHOT_HISTORY, incremental_configs=[entry])
    admin = AdminClient({"bootstrap.servers": broker})  # without a name it is gone before it is answered
    for told in admin.incremental_alter_configs([resource]).values():
        told.result(WITHIN_S)


async def silences(client: Client, policies: Sequence[str], since_ms: int, until_ms: int) -> dict[str, float]:
    """Return for each policy the longest time without a snapshot of it, in seconds, of those that touch a span."""
    times: dict[str, list[int]] = {policy: [since_ms] for policy in policies}
    for record in await client.read(SNAPSHOT_HISTORY):
        if record.value is None or part_of(record.key):
            continue
        policy = record.key.decode()
        if policy in times and since_ms <= record.timestamp <= until_ms:
            times[policy].append(record.timestamp)
    return {
        policy: max(later - earlier for earlier, later in pairwise([*sorted(found), until_ms])) / 1000
        for policy, found in times.items()
    }
