"""Scenario 17: three brokers, each of whose roles is killed, frozen, rolled and moved while events come."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from pipeline.stream.log.topics import DECISIONS, JOIN_TABLE, REWARDS, changelog_topic
from tests.faults.cluster_trial import ClusterTrial
from tests.harness.cluster import replicas, roles
from tests.harness.cluster.cluster import NODES

SHARE = 25
"""Chunks of the stream before harm is done."""
AWAY_S = 25.0
FROZEN_S = 75.0
FROZEN_SHORT_S = 5.0
"""Beyond the first snapshots that came in spite of it."""


def leads_a_source(trial: ClusterTrial) -> int:
    return roles.leader(trial.cluster, DECISIONS, 0)


def leads_the_ledger(trial: ClusterTrial) -> int:
    return roles.leader(trial.cluster, REWARDS, 0)


def leads_a_changelog(trial: ClusterTrial) -> int:
    return roles.leader(trial.cluster, changelog_topic(trial.place.app_id, JOIN_TABLE), 0)


def coordinates_the_group(trial: ClusterTrial) -> int:
    return roles.group_coordinator(trial.cluster, trial.place.app_id)


def coordinates_the_claims(trial: ClusterTrial) -> int:
    return roles.transaction_coordinator(trial.cluster, f"{trial.place.app_id}-{JOIN_TABLE}-0")


def leads_the_controllers(trial: ClusterTrial) -> int:
    return roles.controller(trial.cluster)


ROLES = (leads_a_source, leads_the_ledger, leads_a_changelog, coordinates_the_group, coordinates_the_claims)


@pytest.mark.faults
@pytest.mark.parametrize("role", [*ROLES, leads_the_controllers], ids=lambda role: role.__name__)
async def test_the_broker_is_killed_that(long_cluster_trial: ClusterTrial, role: Callable[[ClusterTrial], int]) -> None:
    trial = long_cluster_trial
    streams = trial.streams()
    async with trial.flow(*streams) as flow, trial.working():
        await flow.send(SHARE)
        async with trial.going_on(flow, *streams):
            await trial.is_published(*streams)
            node = await asyncio.to_thread(role, trial)
            await trial.harm(trial.cluster.brokers[node].kill)
            await trial.is_published(*streams)
            await trial.until_whole()
        await trial.settle(*streams)


async def test_a_host_freezes_and_snapshots_go_on(cluster_trial: ClusterTrial) -> None:
    """
    broker N   ├─ leads decisions/0 ─┤ frozen: holds its connections, says nothing ─┤ thawed
    others     ├─────────────────────┼─ 9 s ─┤ lead what it led ────────────────────────────
    worker     ├─ snapshots of each policy ──┼──┤ snapshots of each policy ────────────────
    """
    trial = cluster_trial
    streams = trial.streams()
    async with trial.flow(*streams) as flow, trial.working():
        await flow.send(SHARE)
        async with trial.going_on(flow, *streams):
            await trial.is_published(*streams)
            frozen = trial.cluster.brokers[await asyncio.to_thread(leads_a_source, trial)]
            await trial.harm(frozen.freeze)
            await trial.is_published(*streams)
            await trial.lasts(FROZEN_S if trial.form.is_long else FROZEN_SHORT_S)
            frozen.thaw()
            await trial.until_whole()
        await trial.settle(*streams)


@pytest.mark.faults
async def test_two_of_three_are_down_and_come_back(long_cluster_trial: ClusterTrial) -> None:
    """Nothing can be written meanwhile, and who controls is nobody: a ledger that goes on takes what had waited."""
    trial = long_cluster_trial
    streams = trial.streams()
    async with trial.flow(*streams) as flow, trial.working():
        await flow.send(SHARE)
        async with trial.going_on(flow, *streams):
            await trial.is_published(*streams)
            down = trial.rng.sample(NODES, 2)
            for node in down:
                await trial.harm(trial.cluster.brokers[node].kill)
            await trial.lasts(AWAY_S)
            await trial.until_whole()
            await trial.is_published(*streams)
        await trial.settle(*streams)


@pytest.mark.faults
async def test_brokers_are_restarted_one_after_the_other(long_cluster_trial: ClusterTrial) -> None:
    trial = long_cluster_trial
    streams = trial.streams()
    async with trial.flow(*streams) as flow, trial.working():
        await flow.send(SHARE)
        async with trial.going_on(flow, *streams):
            await trial.is_published(*streams)
            for node in NODES:
                await trial.harm(trial.cluster.brokers[node].stop)
                await trial.until_whole()
        await trial.settle(*streams)


@pytest.mark.faults
async def test_partitions_move_to_other_brokers(long_cluster_trial: ClusterTrial) -> None:
    """Every partition gets another leader, then lies on one broker less, then on all three in another order."""
    trial = long_cluster_trial
    streams = trial.streams()
    async with trial.flow(*streams) as flow, trial.working():
        await flow.send(SHARE)
        async with trial.going_on(flow, *streams):
            await trial.is_published(*streams)
            for size in (3, 2, 3):
                found = await asyncio.to_thread(replicas.replicas, trial.cluster)
                turned = {place: turn(nodes)[:size] for place, nodes in found.items()}
                await trial.harm(replicas.move, trial.cluster, turned)
                await trial.is_published(*streams)
        await trial.settle(*streams)


def turn(nodes: list[int]) -> list[int]:
    """Return all brokers, the one first that came second."""
    whole = [*nodes, *(node for node in NODES if node not in nodes)]
    return [*whole[1:], whole[0]]
