from __future__ import annotations

import asyncio

import pytest

from pipeline.console.flow import Flow
from pipeline.console.nodes import Nodes
from pipeline.console.server import run_console
from pipeline.console.settings import ConsoleSettings

WITHIN_S = 20.0


async def test_when_something_behind_the_pages_fails_the_console_ends_with_it(monkeypatch: pytest.MonkeyPatch):
    async def fail(_: Nodes) -> None:
        raise ZeroDivisionError("nobody expected it")

    async def wait(_: Flow) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(Nodes, "run", fail)
    monkeypatch.setattr(Flow, "run", wait)  # it waits for a broker in a thread, which nobody can end
    urls: list[str] = []
    running = asyncio.create_task(run_console(ConsoleSettings("127.0.0.1:1", port=0), urls.append))
    done, _ = await asyncio.wait({running}, timeout=WITHIN_S)
    running.cancel()
    with pytest.raises(ZeroDivisionError):
        await running
    assert done
    assert urls[0].startswith("http://127.0.0.1:")
