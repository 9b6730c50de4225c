"""Scenario 2: the worker is killed at every write boundary in turn, by failpoints in its own code."""

from __future__ import annotations

import asyncio
import shutil
import signal
import time

from tests.faults.trial import RECOVERED_WITHIN_S, Trial
from tests.harness.flow import Flow
from tests.harness.worker import Worker

LOOK_S = 1.0

STAGES = ("join", "learn", "publish")
BOUNDARIES = (
    "part-restored",
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
    "join.changelog-sent",
    "join.changelog-acknowledged",
    "join.rows-written",
    "learn.outputs-acknowledged",
    "learn.batch-done",
    "publish.changelog-acknowledged",
    "publish.snapshot-built",
    "worker.before-commit",
)
# Offsets are committed twice a second, a partition is restored once a life; the others happen with every batch.
RARE = ("worker.", *(f"{stage}.part-restored" for stage in STAGES))


async def test_a_worker_killed_at_every_write_boundary(trial: Trial) -> None:
    failpoints = ALL if trial.form.is_long else MOST_TELLING
    streams = trial.streams()
    async with trial.flow(*streams) as flow:
        worker = trial.worker()
        for failpoint in trial.rng.sample(failpoints, len(failpoints)):
            await asyncio.to_thread(trial.forget_the_dead)
            worker.start(f"{failpoint}:{1 if failpoint.startswith(RARE) else trial.rng.randint(1, 3)}")
            await dies(worker, flow, failpoint)
            trial.injected()
        await asyncio.to_thread(trial.forget_the_dead)
        # What is on the disk but not in the changelog shows when there is only the changelog.
        await asyncio.to_thread(shutil.rmtree, worker.state_dir)
        worker.start()
        trial.client.watch(worker)
        await flow.send_rest()
        await trial.settle(*streams)


async def dies(worker: Worker, flow: Flow, failpoint: str) -> None:
    """Let events come until the worker has killed itself."""
    deadline = time.monotonic() + RECOVERED_WITHIN_S
    while (ended := await asyncio.to_thread(worker.wait, LOOK_S)) is None and time.monotonic() < deadline:
        await flow.allow(1)
    assert ended == -signal.SIGKILL, (
        f"{failpoint} was not reached, the worker ended with {ended}:\n{worker.last_words()}"
    )
