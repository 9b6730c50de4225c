"""Scenario 19: what a worker and a node write in ten minutes without a broker: what changes, and little more."""

from __future__ import annotations

import asyncio

import pytest

from pipeline.brokers.local_kafka import LocalKafka
from tests.faults.trial import Trial
from tests.harness.node import Node

SHARE = 25
OUTAGE_S = 600.0
AT_MOST_BYTES = 100_000


@pytest.mark.faults
@pytest.mark.timeout(1_500)
async def test_a_log_of_ten_minutes_without_a_broker_is_short(broker_trial: Trial, own_kafka: LocalKafka) -> None:
    """
    broker   ├─ serves ─┤ gone, ten minutes by the clock ──────────────┤ serves ────────────────
    worker   ├──────────┤ says once what changes, then once a minute ──┤ goes on by itself ─────
    node     ├──────────┤ the same ────────────────────────────────────┤
    """
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
            await trial.lasts(OUTAGE_S)
            written = {name: log.stat().st_size - before[name] for name, log in logs.items()}
            # What there is to be seen is seen.
            assert all(0 < size < AT_MOST_BYTES for size in written.values()), written
            await asyncio.to_thread(own_kafka.restart)
            trial.is_over()
            await trial.work_goes_on()
            await flow.send_rest()
            await trial.settle(*streams)
            assert worker.ends == []
