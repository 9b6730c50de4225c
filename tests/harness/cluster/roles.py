"""Who of a cluster does what, asked before harm is done to it."""

from __future__ import annotations

import asyncio
import time

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from confluent_kafka.admin import AdminClient

from tests.harness.cluster.cluster import Cluster

WITHIN_S = 30.0
LOOK_S = 0.1
GROUP, TRANSACTION = 0, 1


def leader(cluster: Cluster, topic: str, partition: int) -> int:
    """Return the broker that leads a partition."""
    seen = AdminClient({"bootstrap.servers": cluster.bootstrap_servers, "log_level": 0}).list_topics(topic, WITHIN_S)
    return int(seen.topics[topic].partitions[partition].leader)


def group_coordinator(cluster: Cluster, group: str) -> int:
    """Return the broker that a consumer group's members report to."""
    return asyncio.run(_coordinator(cluster, group, GROUP))


def transaction_coordinator(cluster: Cluster, owner: str) -> int:
    """Return the broker that gives out the epochs of a transactional id: an owner's name (`stream/log/claim.py`)."""
    return asyncio.run(_coordinator(cluster, owner, TRANSACTION))


def controller(cluster: Cluster) -> int:
    """Return the one that leads the controllers; what metadata tell as controller is any broker, in KRaft."""
    _, node = max(broker.quorum() for broker in cluster.brokers.values())
    assert node in cluster.brokers, "nobody leads the controllers"
    return node


async def _coordinator(cluster: Cluster, key: str, kind: int) -> int:
    admin = AIOKafkaAdminClient(bootstrap_servers=cluster.bootstrap_servers)
    await admin.start()
    deadline = time.monotonic() + WITHIN_S
    try:
        while True:
            try:
                return int(await admin.find_coordinator(key, kind))
            except KafkaError:  # whoever asks first has the topic of coordinators made
                if time.monotonic() > deadline:
                    raise
            await asyncio.sleep(LOOK_S)
    finally:
        await admin.close()
