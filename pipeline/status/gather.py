"""Ask brokers, workers and nodes how they are; each in bounded time, and who does not answer is said to."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import aiohttp
import orjson
from aiokafka import TopicPartition

from pipeline.doctor.ask import ask
from pipeline.doctor.gather import BrokerFacts
from pipeline.errors import PipelineError, UnavailableError
from pipeline.status.facts import STAGES, DeploymentFacts, NodeFacts, TopicFacts, WorkerFacts
from pipeline.status.metrics_text import worker_facts
from pipeline.stream.log import topics
from pipeline.stream.log.reader import LATEST_MS, LogReader, open_reader
from pipeline.stream.security import Address

TOPICS = (*(topic for read in STAGES.values() for topic in read), topics.SNAPSHOTS, topics.DEAD_LETTERS)
WITHIN_S = 3.0
ANSWER_BYTES = 16 << 20
T = TypeVar("T", WorkerFacts, NodeFacts)


async def gather(
    broker: Address, app_id: str, workers: Sequence[str], nodes: Sequence[str], node_key: str, over_s: float
) -> DeploymentFacts:
    """Look at everything; rates are over `over_s`.

    Raises:
        UnavailableError: no broker answers.
    """
    async with open_reader(broker) as reader:
        first_s, before = time.monotonic(), await _ends(reader)
        lag, members = await asyncio.to_thread(_group, broker, app_id)
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


def _group(broker: Address, app_id: str) -> tuple[Mapping[str, int | None], Mapping[str, int]]:
    """Return the group's lag and its workers; nothing where the broker tells nothing of groups."""
    facts = BrokerFacts(broker, app_id)
    cluster = facts.cluster()
    if not cluster.is_askable:
        return {}, {}
    deployment = facts.deployment(cluster)
    return deployment.lag, deployment.holders


async def _claims(broker: Address, app_id: str, partitions: int) -> dict[str, str | None] | None:
    told = (await ask(broker, app_id, partitions)).claims if partitions else {}
    if told is None:
        return None
    return {name: None if one is None else f"{one.producer_id}/{one.epoch}" for name, one in told.items()}


async def _http(
    workers: Sequence[str], nodes: Sequence[str], node_key: str
) -> tuple[list[WorkerFacts], list[NodeFacts]]:
    headers = {"authorization": f"Bearer {node_key}"} if node_key else {}
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=WITHIN_S)) as http:
        asked_workers = [_asked(http, url, "/metrics", {}, _read_worker, WorkerFacts) for url in workers]
        asked_nodes = [_asked(http, url, "/healthz", headers, _read_node, NodeFacts) for url in nodes]
        return list(await asyncio.gather(*asked_workers)), list(await asyncio.gather(*asked_nodes))


async def _asked(
    http: aiohttp.ClientSession,
    url: str,
    path: str,
    headers: Mapping[str, str],
    read: Callable[[str, bytes], T],
    silent: Callable[[str, str], T],
) -> T:
    try:
        async with http.get(url.rstrip("/") + path, headers=headers) as response:
            raw = await response.content.read(ANSWER_BYTES)
            if response.status != 200:
                return silent(url, f"answers {response.status} to {path}")
            return read(url, raw)
    except TimeoutError:
        return silent(url, f"does not answer within {WITHIN_S:g} s")
    except (aiohttp.ClientError, ValueError, PipelineError) as error:
        return silent(url, f"does not answer {path}: {error}")


def _read_worker(url: str, raw: bytes) -> WorkerFacts:
    return worker_facts(url, raw.decode("utf-8"))


def _read_node(url: str, raw: bytes) -> NodeFacts:
    told = orjson.loads(raw)
    snapshots = told.get("snapshots")
    versions = None if snapshots is None else {policy: live["version"] for policy, live in snapshots.items()}
    return NodeFacts(url, "", str(told["status"]), versions, int(told.get("undelivered", 0)))
