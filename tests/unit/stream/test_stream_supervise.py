from __future__ import annotations

import asyncio

import pytest

from pipeline.stream import supervise as room
from pipeline.stream.supervise import end, supervise


@pytest.mark.parametrize("fault", [asyncio.CancelledError(), RuntimeError("nobody thought of it"), OSError("away")])
async def test_what_goes_wrong_within_does_not_end_the_work(fault: BaseException) -> None:
    seen: list[str] = []

    async def work() -> None:
        seen.append("began")
        if len(seen) == 1:
            raise fault
        await asyncio.Event().wait()

    task = asyncio.create_task(supervise(work))
    async with asyncio.timeout(10):
        while True:
            if len(seen) == 2:
                break
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert seen == ["began", "began"]


async def test_what_takes_a_cancellation_for_its_own_is_cancelled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "CANCEL_AGAIN_S", 0.01)
    taken: list[str] = []

    async def work() -> None:
        while len(taken) < 2:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                taken.append("as its own")
        await asyncio.Event().wait()

    tasks = [asyncio.create_task(work()), asyncio.create_task(asyncio.sleep(0))]
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        await end(tasks)
    assert tasks[0].cancelled()
    assert len(taken) == 2
