from __future__ import annotations

import asyncio

import pytest

from pipeline.stream.supervise import supervise


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
