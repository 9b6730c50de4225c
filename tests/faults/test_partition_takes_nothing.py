"""Scenario 18: one partition is below `min.insync.replicas` and refuses every write; what has others goes on."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

import httpx
import pytest

from pipeline.stream.log.topics import (
    DECISIONS,
    JOIN_TABLE,
    LEARN_TABLE,
    PUBLISH_TABLE,
    REWARDS,
    SNAPSHOTS,
    STATISTICS,
    changelog_topic,
)
from tests.faults.cluster_trial import ClusterTrial
from tests.faults.trial import RECOVERED_WITHIN_S
from tests.harness.client import partition_of
from tests.harness.cluster import replicas
from tests.harness.node import Node, Visitors
from tests.samples import define, plain_policy

SHARE = 25
STUCK = 0
"""The partition."""
SHORT_S, LONG_S = 8.0, 60.0
"""So long it takes nothing."""
VISITS = 40
"""At once; then some a second."""
BOTH = ["a", "b"]
WRITTEN = {
    REWARDS: "by JOIN, of the decisions of one partition",
    JOIN_TABLE: "JOIN's state of one partition",
    LEARN_TABLE: "LEARN's",
    STATISTICS: "by LEARN, of the policies that one partition publishes, from every partition of the ledger",
    PUBLISH_TABLE: "PUBLISH's, of the policies that one partition publishes",
    SNAPSHOTS: "those policies' snapshots",
}
OF_SOME_POLICIES = (STATISTICS, PUBLISH_TABLE, SNAPSHOTS)


@pytest.mark.faults
@pytest.mark.parametrize("written", WRITTEN)
async def test_a_worker_publishes_for_all_others(long_cluster_trial: ClusterTrial, written: str) -> None:
    """
    partition 0   ├─ takes all ─┤ takes nothing ─────────────────────────┤ takes all ─────────
    the others    ├─ snapshots ─┼─ snapshots ─ snapshots ─ snapshots ────┼─ snapshots ────────
    """
    trial = long_cluster_trial
    topic = written if written in (REWARDS, STATISTICS, SNAPSHOTS) else changelog_topic(trial.place.app_id, written)
    streams = trial.streams()
    stopped = {trial.published_at(STUCK)} if written in OF_SOME_POLICIES else set()
    others = [one for one in streams if one.policy["name"] not in stopped]
    async with trial.flow(*streams) as flow, trial.working():
        await flow.send(SHARE)
        async with trial.going_on(flow, *others):
            await trial.is_published(*streams)
            await trial.harm(replicas.take_nothing, trial.cluster, topic, STUCK)
            over_s = time.monotonic() + LONG_S
            while time.monotonic() < over_s:
                await trial.is_published(*others)
            await asyncio.to_thread(replicas.take_again, trial.cluster, topic, STUCK)
        await trial.settle(*streams)


async def test_a_node_delivers_for_all_others_and_sends_nothing_twice(cluster_trial: ClusterTrial) -> None:
    """
    decisions/0   ├─ takes nothing ──────────────────────────────┤ takes all ─┤
    visitors      ├─ come, and are answered ─────────────────────┼─ come ─────┤
    the node      ├─ delivers to 1, 2, 3; keeps on disk what is for 0 ─┤ delivers it ─┤ each decision lies there once
    """
    trial = cluster_trial
    await trial.client.apply(define(plain_policy()))
    spill = ("--spill-dir", str(trial.folder / "spill"))
    async with httpx.AsyncClient(timeout=10.0) as http:
        with Node(trial.place.broker, trial.folder / "node", *spill) as node:
            visitors = Visitors(http, "homepage")
            await visitors.come(node, VISITS, eligible=BOTH)
            await arrived(trial, visitors)
            await trial.harm(replicas.take_nothing, trial.cluster, DECISIONS, STUCK)
            async with asyncio.timeout(2 * RECOVERED_WITHIN_S):
                for _ in range(int(LONG_S if trial.form.is_long else SHORT_S)):
                    await visitors.come(node, VISITS, eligible=BOTH)
                    await trial.lasts(1.0)
                await arrived(trial, visitors, without=STUCK)
            health = await visitors.health(node)
            held = [name for name in visitors.told if partition_of(name, trial.client.partitions) == STUCK]
            lying = [record for record in await trial.client.read(DECISIONS) if record.partition == STUCK]
            assert health["undelivered"] == len(held) - len(lying) > 0
            await asyncio.to_thread(replicas.take_again, trial.cluster, DECISIONS, STUCK)
            await visitors.come(node, VISITS, eligible=BOTH)
            await arrived(trial, visitors)
            assert (await visitors.health(node))["dropped"] == 0
    lies = Counter(record.key.decode() for record in await trial.client.read(DECISIONS))
    assert lies == dict.fromkeys(visitors.told, 1)


async def arrived(trial: ClusterTrial, visitors: Visitors, without: int | None = None) -> None:
    """Wait until every decision lies in its partition, but for those of one of them."""
    wanted = {name for name in visitors.told if partition_of(name, trial.client.partitions) != without}

    async def is_there() -> bool:
        return wanted <= {record.key.decode() for record in await trial.client.read(DECISIONS)}

    await trial.client.until(is_there, what="the node to deliver", within_s=RECOVERED_WITHIN_S)
