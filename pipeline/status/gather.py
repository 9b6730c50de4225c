"""Ask brokers, workers and nodes how they are; each in bounded time, and who does not answer is said to."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from aiokafka import TopicPartition

from pipeline.doctor.ask import ask
from pipeline.doctor.facts import Deployment
from pipeline.doctor.gather import BrokerFacts
from pipeline.errors import UnavailableError
from pipeline.status.asking import ask_node, ask_worker, session
from pipeline.status.facts import STAGES, DeploymentFacts, NodeFacts, TopicFacts, WorkerFacts
from pipeline.stream.log import topics
from pipeline.stream.log.offsets import LATEST_MS
from pipeline.stream.log.reader import LogReader, open_reader
from pipeline.stream.security import Address

TOPICS = (*(topic for read in STAGES.values() for topic in read), topics.SNAPSHOTS, topics.DEAD_LETTERS)


async def gather(
    broker: Address, app_id: str, workers: Sequence[str], nodes: Sequence[str], node_key: str, over_s: float
) -> DeploymentFacts:
    """Look at everything; rates are over `over_s`.

    Raises:
        UnavailableError: no broker answers.
    """
    async with open_reader(broker) as reader:
        first_s, before = time.monotonic(), await _ends(reader)
        deployment = await asyncio.to_thread(deployment_of, broker, app_id)
        lag, members = ({}, {}) if deployment is None else (deployment.lag, deployment.holders)
        claims = await _claims(broker, app_id, len(before[topics.DECISIONS])) if lag else None
        told_workers, told_nodes = await _http(workers, nodes, node_key)
        await asyncio.sleep(max(0.0, first_s + over_s - time.monotonic()))
        seconds, after = time.monotonic() - first_s, await _ends(reader)
    seen = {
        topic: TopicFacts(
            len(ends),
            sum(ends.values()),
            (sum(ends.values()) - sum(before[topic].values())) / seconds,
            lag.get(topic),
        )
        for topic, ends in after.items()
    }
    return DeploymentFacts(seen, members, claims, told_workers, told_nodes)


async def _ends(reader: LogReader) -> dict[str, dict[TopicPartition, int]]:
    found: dict[str, dict[TopicPartition, int]] = {}
    for topic in TOPICS:
        try:
            found[topic] = await reader.offsets(await reader.partitions_of(topic), LATEST_MS)
        except UnavailableError:
            found[topic] = {}
    return found


def deployment_of(broker: Address, app_id: str) -> Deployment | None:
    """Return what the broker tells of the group; None where it tells nothing of groups. It waits for the broker."""
    facts = BrokerFacts(broker, app_id)
    cluster = facts.cluster()
    return facts.deployment(cluster) if cluster.is_askable else None


async def _claims(broker: Address, app_id: str, partitions: int) -> dict[str, str | None] | None:
    told = (await ask(broker, app_id, partitions)).claims if partitions else {}
    if told is None:
        return None
    return {name: None if one is None else f"{one.producer_id}/{one.epoch}" for name, one in told.items()}


async def _http(
    workers: Sequence[str], nodes: Sequence[str], node_key: str
) -> tuple[list[WorkerFacts], list[NodeFacts]]:
    async with session() as http:
        told_workers = asyncio.gather(*(ask_worker(http, url) for url in workers))
        told_nodes = asyncio.gather(*(ask_node(http, url, node_key) for url in nodes))
        return await told_workers, await told_nodes
