"""Scenario 5: the broker stops, is killed, freezes, or is slow, while events flow."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from pipeline.brokers.local_kafka import LocalKafka
from tests.faults.trial import Trial
from tests.harness.quotas import throttled

SHARE = 25
"""Chunks of the stream."""
AWAY_S = 20.0
FROZEN_S = 15.0
BYTES_A_SECOND = 40_000
"""Of each client; a worker has three or four."""

Fault = Callable[[Trial, LocalKafka], Awaitable[None]]


async def stopped(trial: Trial, kafka: LocalKafka) -> None:
    """It stops in order, and is away for a while."""
    await asyncio.to_thread(kafka.halt)
    await trial.lasts(AWAY_S)
    await asyncio.to_thread(kafka.restart)


async def killed(trial: Trial, kafka: LocalKafka) -> None:
    del trial
    await asyncio.to_thread(kafka.kill)
    await asyncio.to_thread(kafka.restart)


async def paused(trial: Trial, kafka: LocalKafka) -> None:
    """It holds its connections, and answers nothing."""
    kafka.pause()
    await trial.lasts(FROZEN_S)
    kafka.resume()


@pytest.mark.faults
@pytest.mark.parametrize("fault", [stopped, killed, paused], ids=lambda fault: fault.__name__)
async def test_the_broker_is(broker_trial: Trial, own_kafka: LocalKafka, fault: Fault) -> None:
    trial = broker_trial
    streams = trial.streams()
    async with trial.flow(*streams) as flow:
        with trial.supervised() as worker:
            trial.client.watch(worker)
            await flow.send(SHARE)
            await trial.work_goes_on(0)
            for _ in range(2):
                # Events go on coming while it is away.
                await flow.allow(SHARE)
                await trial.moment()
                await fault(trial, own_kafka)
                trial.injected()
                await trial.work_goes_on()
            await flow.send_rest()
            await trial.settle(*streams)


@pytest.mark.faults
async def test_the_broker_is_slow(broker_trial: Trial, own_kafka: LocalKafka) -> None:
    trial = broker_trial
    streams = trial.streams()
    async with trial.flow(*streams) as flow:
        with trial.supervised() as worker:
            trial.client.watch(worker)
            await flow.send(SHARE)
            await trial.work_goes_on(0)
            async with throttled(own_kafka.bootstrap_servers, BYTES_A_SECOND):
                trial.injected()
                await flow.send(SHARE)
                await trial.work_goes_on()
                await trial.lasts(AWAY_S)
            trial.is_over()
            await flow.send_rest()
            await trial.settle(*streams)
