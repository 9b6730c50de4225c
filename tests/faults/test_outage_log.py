"""Scenario 19: what a worker and a node write without a broker: what changes, and little more, however long."""

from __future__ import annotations

import asyncio

import pytest

from pipeline.brokers.local_kafka import LocalKafka
from tests.faults.trial import Trial
from tests.harness.node import Node

SHARE = 25
BEGIN_S = 20.0
"""In which everybody finds out."""
MINUTE_S = 60.0
MINUTES = 10
AT_MOST_BYTES = 100_000


@pytest.mark.faults
async def test_a_log_of_ten_minutes_without_a_broker_is_short(broker_trial: Trial, own_kafka: LocalKafka) -> None:
    trial = broker_trial
    streams = trial.streams(trial.form.actions // 4)
    async with trial.flow(*streams) as flow:
        with trial.supervised() as worker, Node(trial.place.broker, trial.folder / "node") as node:
            trial.client.watch(worker)
            await flow.send(SHARE)
            await trial.work_goes_on(0)
            logs = {"worker": worker.worker.log, "node": node.log}
            before = {name: log.stat().st_size for name, log in logs.items()}
            await asyncio.to_thread(own_kafka.kill)
            trial.injected()
            await flow.allow(SHARE)
            await trial.lasts(BEGIN_S)
            begun = {name: log.stat().st_size for name, log in logs.items()}
            await trial.lasts(MINUTE_S)
            after = {name: log.stat().st_size for name, log in logs.items()}
            ten = {name: begun[name] - before[name] + MINUTES * (after[name] - begun[name]) for name in logs}
            assert all(size < AT_MOST_BYTES for size in ten.values()), (before, begun, after)
            # And what there is to be seen is seen.
            assert all(begun[name] > before[name] for name in logs), (before, begun)
            await asyncio.to_thread(own_kafka.restart)
            await trial.work_goes_on()
            await flow.send_rest()
            await trial.settle(*streams)
