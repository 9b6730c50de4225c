"""Scenario 1: the worker is killed at random moments, and started again each time."""

from __future__ import annotations

import asyncio

from tests.faults.trial import Trial

KILLS = {"short": 4, "long": 20}


async def test_a_worker_killed_at_random_moments(trial: Trial) -> None:
    kills = KILLS[trial.form.name]
    streams = trial.streams()
    async with trial.flow(*streams) as flow:
        with trial.supervised(alone=True) as worker:
            trial.client.watch(worker)
            for _ in range(kills):
                before = await trial.ledger_end()
                # It has begun to work on what came, and more is coming.
                await flow.allow(trial.rng.randint(4, 100 // kills))
                await trial.work_goes_on(before)
                await trial.moment()
                await asyncio.to_thread(worker.kill)
                trial.injected()
            await flow.send_rest()
            await trial.settle(*streams)
            assert worker.ends == [-9] * kills
