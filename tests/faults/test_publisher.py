"""Scenario 6: the publisher is killed around a snapshot, and a second one wakes up: versions are used once.

All the while a follower looks on: what it had live was published, whole, and never went back.
"""

from __future__ import annotations

import asyncio

from pipeline.stream.log.topics import SNAPSHOT_HISTORY
from tests.faults.test_boundaries import dies
from tests.faults.trial import RECOVERED_WITHIN_S, Trial
from tests.harness.following import Following, following
from tests.harness.known import wide
from tests.harness.supervised import Supervised

# Built, not yet in the changelog; there, but not sent; sent, to one topic or both, but nobody knows whether it came.
AROUND_A_SNAPSHOT = (
    "publish.snapshot-built",
    "publish.changelog-acknowledged",
    "publish.rows-written",
    "publish.outputs-sent",
    "publish.snapshot-sent",
)
# Some of the parts are in the changelog; all, and the snapshot not; some are sent; all, and the snapshot not.
AROUND_PARTS = (
    "publish.parts-written",
    "publish.outputs-sent",
    "publish.parts-sent",
    "publish.changelog-acknowledged",
    "publish.snapshot-sent",
)
LATEST_GROUP = 4
"""Four parts are one group of what is written or sent at once: of few snapshots each point is reached so often."""
ROUNDS = {"short": 1, "long": 4}
SHARE = 25
"""Chunks of the stream."""


async def test_a_publisher_killed_between_building_and_sending(trial: Trial) -> None:
    streams = trial.streams()
    async with trial.flow(*streams) as flow, following(trial.place.broker) as followed:
        worker = trial.worker()
        for failpoint in AROUND_A_SNAPSHOT * ROUNDS[trial.form.name]:
            await asyncio.to_thread(trial.forget_the_dead)
            worker.start(f"{failpoint}:{trial.rng.randint(1, 8)}")
            await dies(worker, flow, failpoint)
            trial.injected()
        await asyncio.to_thread(trial.forget_the_dead)
        worker.start()
        trial.client.watch(worker)
        await flow.send_rest()
        await trial.settle(*streams)
        await saw_only_what_was_published(trial, followed, "homepage", "linear")


async def test_a_publisher_killed_between_parts_and_their_snapshot(trial: Trial) -> None:
    streams = (wide(trial.seed, trial.form.actions),)
    async with trial.flow(*streams) as flow, following(trial.place.broker) as followed:
        worker = trial.worker()
        for failpoint in AROUND_PARTS * ROUNDS[trial.form.name]:
            await asyncio.to_thread(trial.forget_the_dead)
            worker.start(f"{failpoint}:{trial.rng.randint(1, LATEST_GROUP)}")
            await dies(worker, flow, failpoint)
            trial.injected()
        await asyncio.to_thread(trial.forget_the_dead)
        worker.start()
        trial.client.watch(worker)
        await flow.send_rest()
        await trial.settle(*streams)
        await saw_only_what_was_published(trial, followed, "wide")


async def test_two_publishers_for_a_moment(trial: Trial) -> None:
    """
    worker 0   ├─ publishes ─┤ frozen · · · · · · │ wakes and would publish
    worker 1   ├───────────────── publishes in its place ─────────────────────
    """
    streams = trial.streams()
    async with trial.flow(*streams) as flow, following(trial.place.broker) as followed:
        with trial.supervised("0") as one, trial.supervised("1") as other:
            trial.client.watch(one, other)
            await trial.has_members(2)
            await flow.send(SHARE)
            await trial.client.until(lambda: _one_of(followed), what="a first snapshot")
            # Frozen with a snapshot on its way, if it can be had.
            await flow.allow(SHARE)
            zombie = await publisher(trial, one, other)
            await trial.moment()
            zombie.worker.pause()
            trial.injected()
            await trial.has_members(1)
            await flow.send(SHARE)
            await trial.client.quiet(RECOVERED_WITHIN_S)
            zombie.worker.resume()
            trial.is_over()
            await flow.send_rest()
            await trial.settle(*streams)
            await saw_only_what_was_published(trial, followed, "homepage", "linear")


async def _one_of(followed: Following) -> bool:
    return bool(followed.versions("homepage"))


async def publisher(trial: Trial, *workers: Supervised) -> Supervised:
    """Return the worker that publishes the homepage's snapshots."""

    async def found() -> Supervised | None:
        said = {worker: _last(worker.worker.log.read_text("utf-8", "replace")) for worker in workers}
        best = max(workers, key=lambda worker: said[worker])
        return best if said[best] else None

    return await trial.client.until(found, what="a publisher")


def _last(log: str) -> int:
    published = [line for line in log.splitlines() if "snapshot-published policy=homepage" in line]
    return int(published[-1].partition("version=")[2].split()[0]) if published else 0


async def saw_only_what_was_published(trial: Trial, followed: Following, *policies: str) -> None:
    history = {}
    for one in await trial.client.published(SNAPSHOT_HISTORY):
        history[one.fields["policy"], one.fields["version"]] = one.id
    assert followed.follower.refused == 0
    assert [live for live in followed.seen if history.get((live.policy, live.version)) != live.id] == []
    for policy in policies:
        versions = followed.versions(policy)
        assert versions == sorted(set(versions))

        async def is_live(policy: str = policy) -> bool:
            return followed.versions(policy)[-1] == max(v for name, v in history if name == policy)

        await trial.client.until(is_live, what=f"the last version of {policy} to be live", within_s=10.0)
