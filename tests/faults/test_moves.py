"""Scenario 3: workers join and leave while events flow, and one freezes beyond its session and wakes up."""

from __future__ import annotations

import asyncio

from tests.faults.trial import RECOVERED_WITHIN_S, Trial

SHARE = 25
"""Chunks of the stream."""
BACKLOG = 5_000
"""Decisions of each policy."""


async def test_one_worker_then_three_then_two_then_one(trial: Trial) -> None:
    """
    worker 0   ├──────────────────────────────┤ killed
    worker 1            ├───────────────────────────────────────
    worker 2            ├──────────┤ stops in order
    """
    streams = trial.streams()
    async with trial.flow(*streams) as flow:
        first, second, third = (trial.worker(str(number)) for number in range(3))
        first.start()
        trial.client.watch(first)
        await flow.send(SHARE)
        await trial.work_goes_on(0)
        second.start()
        third.start()
        trial.client.watch(first, second, third)
        trial.injected(2)
        await flow.allow(SHARE)
        await trial.has_members(3)
        await trial.moment()
        await flow.allow(SHARE)
        trial.client.watch(first, second)
        await asyncio.to_thread(third.stop)
        trial.injected()
        await flow.allow(SHARE)
        await trial.has_members(2)
        await trial.moment()
        await flow.allow(SHARE)
        trial.client.watch(second)
        await asyncio.to_thread(first.kill)
        trial.injected()
        await flow.send_rest()
        await trial.settle(*streams)


async def test_a_worker_frozen_beyond_its_session_that_wakes_up(trial: Trial) -> None:
    """
    worker 0   ├─ busy ─┤ frozen · · · · · · · │ wakes with its batches in hand ───┤ killed
    worker 1   ├─────────────── takes over, reads all ─────────────────────────────┤ killed
    worker 2                                      without a disk, restores from what they left ├──────
    """
    streams = trial.streams(BACKLOG)
    async with trial.flow(*streams) as flow:
        # So many that the worker has its hands full when it freezes.
        await flow.send(2 * SHARE)
        with trial.supervised("0") as zombie, trial.supervised("1") as successor:
            trial.client.watch(zombie, successor)
            await trial.work_goes_on(0)
            await trial.moment()
            zombie.worker.pause()
            trial.injected()
            # A worker that is frozen long enough is no member any more.
            await trial.has_members(1)
            await flow.send(SHARE)
            await trial.client.quiet(RECOVERED_WITHIN_S)
            zombie.worker.resume()
            trial.is_over()
            await trial.has_members(2)
            await flow.send(SHARE)
            await trial.client.quiet(RECOVERED_WITHIN_S)
            await asyncio.to_thread(zombie.stop_at_once)
            await asyncio.to_thread(successor.stop_at_once)
        # What a zombie wrote where it should not shows when somebody has to believe it.
        await asyncio.to_thread(trial.forget_the_dead)
        with trial.worker("2") as restored:
            trial.client.watch(restored)
            await flow.send_rest()
            await trial.settle(*streams)
