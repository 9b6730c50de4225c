"""Scenario 2: the worker is killed at every write boundary in turn, by failpoints in its own code."""

from __future__ import annotations

import asyncio

from tests.faults.trial import RECOVERED_WITHIN_S, Trial
from tests.harness.worker import Worker

STAGES = ("join", "learn", "publish")
BOUNDARIES = (
    "before-outputs",
    "outputs-sent",
    "outputs-acknowledged",
    "changelog-sent",
    "changelog-acknowledged",
    "rows-written",
    "batch-done",
)
ALL = (
    *(f"{stage}.{name}" for stage in STAGES for name in BOUNDARIES),
    "worker.before-commit",
    "worker.after-commit",
    "publish.snapshot-built",
    "publish.snapshot-sent",
)
MOST_TELLING = (
    "join.outputs-sent",
    "join.changelog-acknowledged",
    "join.rows-written",
    "learn.outputs-acknowledged",
    "learn.batch-done",
    "publish.changelog-acknowledged",
    "publish.snapshot-built",
    "worker.before-commit",
)
CHUNKS_A_LIFE = 3


async def test_a_worker_killed_at_every_write_boundary(trial: Trial) -> None:
    failpoints = ALL if trial.form.is_long else MOST_TELLING
    streams = trial.streams()
    async with trial.flow(*streams) as flow:
        with trial.worker() as worker:
            await asyncio.to_thread(worker.kill)
            for failpoint in trial.rng.sample(failpoints, len(failpoints)):
                await asyncio.to_thread(trial.forget_the_dead)
                worker.start(f"{failpoint}:{trial.rng.randint(1, 3)}")
                await flow.allow(CHUNKS_A_LIFE)
                ended = await asyncio.to_thread(worker.wait, RECOVERED_WITHIN_S)
                assert ended == -9, f"{failpoint} was not reached, the worker ended with {ended}\n{worker.last_words()}"
                trial.injected()
            await restart(trial, worker)
            await flow.send_rest()
            await trial.settle(*streams)


async def restart(trial: Trial, worker: Worker) -> None:
    await asyncio.to_thread(trial.forget_the_dead)
    worker.start()
    trial.client.watch(worker)
