"""Scenario 2: the worker is killed at every write boundary in turn, by failpoints in its own code."""

from __future__ import annotations

import asyncio
import shutil
import signal
import time

import orjson

from pipeline.checkpoint.head import Head
from pipeline.checkpoint.topic import read_held
from pipeline.stream.log.topics import CHECKPOINTS
from tests.faults.trial import RECOVERED_WITHIN_S, Trial
from tests.harness.command import pipeline
from tests.harness.flow import Flow
from tests.harness.transactions import Sent, Transactional
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
    "checkpoint.part-sent",
    "checkpoint.parts-sent",
    "checkpoint.head-sent",
    "checkpoint.superseded",
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
    "checkpoint.part-sent",
    "checkpoint.head-sent",
)
# Offsets are committed twice a second, a partition is restored once a life; the others happen with every batch.
RARE = ("worker.", "checkpoint.", *(f"{stage}.part-restored" for stage in STAGES))


async def test_a_worker_killed_at_every_write_boundary(trial: Trial) -> None:
    failpoints = ALL if trial.form.is_long else MOST_TELLING
    streams = trial.streams()
    async with trial.flow(*streams) as flow:
        worker = trial.worker(checkpoint_every="0.5")
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
        await checkpoints_are_proven(trial)


async def checkpoints_are_proven(trial: Trial) -> None:
    """Fold the ledger from its start and hold every checkpoint against it, by both codes."""
    for how in ([], ["--independent"]):
        trusted = ["--trusted", str(trial.folder / "trusted.json")]
        said = await pipeline(trial.place, "verify", "--from-start", "--json", *trusted, *how)
        found = orjson.loads(said)
        assert found["equal"], found
        assert len(found["checkpoints"]) >= 2
    newest = await asyncio.to_thread(one_more_that_is_taken_back, trial, await newest_head(trial))
    said = await pipeline(trial.place, "verify", "--last", "1000", "--trust", "newest", "--json", codes=(0, 1))
    found = orjson.loads(said)
    assert found["equal"], found
    assert newest.id not in {one["checkpoint"] for one in (*found["begun_at"], *found["checkpoints"])}


async def newest_head(trial: Trial) -> Head:
    held = await read_held(trial.place.broker, 0)
    return next(reversed(held[0].heads.values()))


def one_more_that_is_taken_back(trial: Trial, head: Head) -> Head:
    """Write a head behind the newest that names its parts as those of the very start, in a transaction that aborts."""
    false = head._replace(offset=1, previous=head.id)
    foreign = Transactional(trial.place.broker, "whoever-writes-checkpoints")
    foreign.begin([Sent(CHECKPOINTS, 0, false.key, false.to_bytes())])
    foreign.abort()
    return false


async def dies(worker: Worker, flow: Flow, failpoint: str) -> None:
    """Let events come until the worker has killed itself."""
    deadline = time.monotonic() + RECOVERED_WITHIN_S
    while (ended := await asyncio.to_thread(worker.wait, LOOK_S)) is None and time.monotonic() < deadline:
        await flow.allow(1)
    assert ended == -signal.SIGKILL, (
        f"{failpoint} was not reached, the worker ended with {ended}:\n{worker.last_words()}"
    )
