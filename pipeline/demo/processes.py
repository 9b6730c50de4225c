"""Workers and nodes as child processes: each in a process group of its own, with a log, ended with this process."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar

from pipeline.brokers.parent_watch import ParentWatch
from pipeline.demo.failure import DemoError

T = TypeVar("T")

STOPPED_WITHIN_S = 20.0
LOG_TAIL_LINES = 15
_POLL_S = 0.05


class _Child(NamedTuple):
    name: str
    log: Path
    process: subprocess.Popen[bytes]
    parent_watch: ParentWatch


class Processes:
    """Commands of this package that run while the block does; a killed demo takes them along."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._children: list[_Child] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def start(self, name: str, arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        """Run `pipeline ARGUMENTS`; its output goes to a log called `name`."""
        log = self._logs / f"{name}.log"
        # What is set for the reader's own deployment must not reach the demo's.
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("PIPELINE_")}
        with log.open("wb") as output:
            # S603: the program is this interpreter, the arguments are the demo's.
            process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-m", "pipeline", *arguments],
                env={**inherited, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._children.append(_Child(name, log, process, ParentWatch(process.pid)))

    def check(self) -> None:
        """Raise DemoError, with the tail of its log, if one has ended."""
        for child in self._children:
            code = child.process.poll()
            if code is not None:
                raise DemoError(
                    f"{child.name} ended early with code {code}; its log {child.log} ends:\n{tail(child.log)}"
                )

    async def watch(self) -> None:
        """Check for ever."""
        while True:
            self.check()
            await asyncio.sleep(_POLL_S)

    def stop(self) -> None:
        """End all in order, nodes before workers; one that takes too long is killed. A second call does nothing."""
        children, self._children = self._children[::-1], []
        for child in children:
            _signal(child, signal.SIGTERM)
        deadline_s = time.monotonic() + STOPPED_WITHIN_S
        for child in children:
            try:
                child.process.wait(max(deadline_s - time.monotonic(), 0.1))
            except subprocess.TimeoutExpired:
                _signal(child, signal.SIGKILL)
                child.process.wait()
            child.parent_watch.cut()


def tail(log: Path, lines: int = LOG_TAIL_LINES) -> str:
    """Return the last lines of a log."""
    found = log.read_text("utf-8", "replace").splitlines() if log.exists() else []
    return "\n".join(found[-lines:]) or "(it is empty)"


async def beside(main: Coroutine[Any, Any, T], *background: Coroutine[Any, Any, None]) -> T:
    """Run `main` to its end; whatever runs in the background ends with it, or ends it by an error."""
    task = asyncio.create_task(main)
    others = [asyncio.create_task(coroutine) for coroutine in background]
    try:
        done, _ = await asyncio.wait({task, *others}, return_when=asyncio.FIRST_COMPLETED)
        for one in done - {task}:
            one.result()
        return await task
    finally:
        for one in (task, *others):
            one.cancel()
        await asyncio.gather(task, *others, return_exceptions=True)


def _signal(child: _Child, number: signal.Signals) -> None:
    """Signal a child's whole group, while the child still gives the group its number."""
    if child.process.poll() is None:
        os.killpg(child.process.pid, number)
