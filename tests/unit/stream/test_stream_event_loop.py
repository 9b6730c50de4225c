from __future__ import annotations

import asyncio
import time

from pipeline.stream.event_loop import STEP_S, StallWatch, Steps


async def test_what_holds_the_loop_is_told_for_about_as_long_as_it_did():
    told: asyncio.Queue[float] = asyncio.Queue()
    watch = asyncio.create_task(StallWatch(told.put_nowait).run())
    async with asyncio.timeout(10):
        await told.get()
        time.sleep(0.05)  # noqa: ASYNC251  this is what is to be seen
        seen_s = await told.get()
    watch.cancel()
    # It was asked to come back 5 ms after it slept, which was before the 50 ms began.
    assert seen_s >= 0.04


async def test_work_in_steps_lets_others_have_their_turn():
    turns: list[int] = []

    async def other() -> None:
        while True:
            turns.append(1)
            await asyncio.sleep(0)

    waiting = asyncio.create_task(other())
    steps = Steps()
    for _ in range(3):
        until_s = time.perf_counter() + 2 * STEP_S
        while time.perf_counter() < until_s:
            pass
        await steps.rest()
    waiting.cancel()
    assert len(turns) >= 3


async def test_work_that_is_short_goes_on_without_a_pause():
    turns: list[int] = []
    asyncio.get_running_loop().call_soon(turns.append, 1)
    steps = Steps()
    steps._since_s = time.perf_counter() + 60  # nothing is due for a minute
    await steps.rest()
    assert turns == []
