"""On which brokers a partition lies, and moving it, by Kafka's request 45 (AlterPartitionReassignments)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import for_code
from aiokafka.protocol.admin import AlterPartitionReassignmentsRequest
from confluent_kafka.admin import AdminClient

from tests.harness.cluster.cluster import NODES, Cluster

WITHIN_S = 60.0
LOOK_S = 0.1

Place = tuple[str, int]
"""Topic and partition."""


def replicas(cluster: Cluster) -> dict[Place, list[int]]:
    """Return the brokers of each partition that is no inner one of Kafka's, the one that should lead first."""
    seen = AdminClient({"bootstrap.servers": cluster.bootstrap_servers, "log_level": 0}).list_topics(timeout=WITHIN_S)
    return {
        (name, number): list(one.replicas)
        for name, topic in seen.topics.items()
        for number, one in topic.partitions.items()
        if not name.startswith("__")
    }


def move(cluster: Cluster, wanted: Mapping[Place, Sequence[int]]) -> None:
    """Let partitions lie on these brokers, and wait until they do and nobody else has them."""
    asyncio.run(_move(cluster.bootstrap_servers, wanted))
    deadline = time.monotonic() + WITHIN_S
    while {place: found for place, found in replicas(cluster).items() if place in wanted} != {
        place: list(nodes) for place, nodes in wanted.items()
    }:
        assert time.monotonic() < deadline, f"not moved in {WITHIN_S:.0f} s: {wanted}"
        time.sleep(LOOK_S)


def take_nothing(cluster: Cluster, topic: str, partition: int) -> None:
    """Have a partition refuse every write, and no other: it lies on two brokers, one of which is stopped.

    All others lie on three, of which two are left: as many as `min.insync.replicas` asks for. A partition that lay on
    one broker alone would take everything: Kafka asks for no more replicas than there are.
    """
    leader, other, _ = replicas(cluster)[topic, partition]
    move(cluster, {(topic, partition): [leader, other]})
    cluster.brokers[other].stop()


def take_again(cluster: Cluster, topic: str, partition: int) -> None:
    """Undo it."""
    cluster.make_whole()
    kept = replicas(cluster)[topic, partition]
    move(cluster, {(topic, partition): [*kept, *(node for node in NODES if node not in kept)]})


async def _move(broker: str, wanted: Mapping[Place, Sequence[int]]) -> None:
    topics = [(topic, [(number, list(nodes), {})], {}) for (topic, number), nodes in wanted.items()]
    admin = AIOKafkaAdminClient(bootstrap_servers=broker)
    await admin.start()
    try:
        answer = await admin._send_to_controller(AlterPartitionReassignmentsRequest(int(WITHIN_S * 1000), topics, {}))
    finally:
        await admin.close()
    told = answer.to_object()
    faults = [told, *(one for topic in told["responses"] for one in topic["partitions"])]
    for one in faults:
        if one["error_code"]:
            raise for_code(one["error_code"])(f"{wanted}: {one}")
