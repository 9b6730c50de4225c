"""Scenario 20: three brokers behind TLS and SCRAM, and a worker with nothing but what README's table grants it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.faults.cluster_trial import ClusterTrial
from tests.faults.conftest import on_three_brokers
from tests.faults.trial import Form
from tests.harness.cluster import roles
from tests.harness.cluster.secured import PASSWORD, environment, start_secured
from tests.harness.supervised import Supervised

SHARE = 25
DEPLOYMENT = "pipeline"
"""That the table speaks of."""
FROZEN_S = 15.0


@pytest_asyncio.fixture
async def secured_trial(
    kafka_cache: Path, long_form: Form, seed: int, tmp_path: Path, request: pytest.FixtureRequest
) -> AsyncIterator[ClusterTrial]:
    cluster = await asyncio.to_thread(start_secured, kafka_cache, tmp_path / "certificates")
    try:
        async for one in on_three_brokers(cluster, long_form, seed, tmp_path, request, DEPLOYMENT):
            yield one
    finally:
        await asyncio.to_thread(cluster.stop)


@pytest.mark.faults
async def test_a_worker_with_least_rights_goes_on_when_its_coordinator_is_killed_and_another_broker_freezes(
    secured_trial: ClusterTrial,
) -> None:
    trial = secured_trial
    streams = trial.streams()
    security = environment(trial.folder / "certificates", "worker")
    worker = trial.place._replace(broker=trial.cluster.secured_servers).worker(trial.folder / "0", environment=security)
    async with trial.flow(*streams) as flow:
        with Supervised(worker) as supervised:
            trial.client.watch(supervised)
            await flow.send(SHARE)
            async with trial.going_on(flow, *streams):
                await trial.is_published(*streams)
                killed = await asyncio.to_thread(roles.group_coordinator, trial.cluster, DEPLOYMENT)
                await trial.harm(trial.cluster.brokers[killed].kill)
                await trial.is_published(*streams)
                await trial.until_whole()
                claims = await asyncio.to_thread(
                    roles.transaction_coordinator, trial.cluster, f"{DEPLOYMENT}-publish-0"
                )
                await trial.harm(trial.cluster.brokers[claims].freeze)
                await trial.is_published(*streams)
                await trial.lasts(FROZEN_S)
                await trial.until_whole()
            await trial.settle(*streams)
    assert supervised.ends == []
    assert PASSWORD not in worker.log.read_text("utf-8")
