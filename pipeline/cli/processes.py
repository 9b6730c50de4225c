"""Several workers on one machine, a process each: started together, and each again when it stopped by itself.

A worker stops rather than guess (exit code 70): when another one has taken its place, when the disk is full, when the
broker is away for too long. Started again it goes on from what is durable. If this process is killed, so are they.
"""

from __future__ import annotations

import logging
import multiprocessing
import signal
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from types import FrameType
from typing import NoReturn

from pipeline.brokers.parent_watch import ParentWatch
from pipeline.settings import WorkerSettings

log = logging.getLogger(__name__)

FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 30.0
"""Before a worker is started again: twice as long each time."""
STEADY_S = 60.0
"""A worker that ran for so long begins with the first pause again."""
STOPPED_WITHIN_S = 60.0


class _StopAskedError(Exception):
    """A signal asked to stop."""


class _Member:
    """One worker of them, and when to start it again."""

    def __init__(self, settings: WorkerSettings, run: Callable[[WorkerSettings], None]) -> None:
        self._settings = settings
        self._run = run
        self._pause_s = FIRST_PAUSE_S
        self.process: SpawnProcess | None = None
        self.due_s = 0.0
        self.is_stopped = False

    def start(self) -> None:
        """Start it in a process of its own."""
        process = multiprocessing.get_context("spawn").Process(target=self._run, args=(self._settings,))
        process.start()
        self.process = process
        self._parent_watch = ParentWatch(process.pid or 0)
        self._started_s = time.monotonic()
        log.info("worker-started state_dir=%s pid=%s", self._settings.state_dir, process.pid)

    def note_end(self) -> None:
        """Say how it ended, and when it is to be started again; never, if it was told to stop."""
        if self.process is None:
            return
        self.process.join()
        exit_code = self.process.exitcode
        self._parent_watch.cut()
        self.process = None
        if exit_code == 0:
            self.is_stopped = True
            log.info("worker-stopped state_dir=%s", self._settings.state_dir)
            return
        if time.monotonic() - self._started_s > STEADY_S:
            self._pause_s = FIRST_PAUSE_S
        self.due_s = time.monotonic() + self._pause_s
        log.warning(
            "worker-ended state_dir=%s exit_code=%s again_in_s=%g", self._settings.state_dir, exit_code, self._pause_s
        )
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)


def run_processes(all_settings: Sequence[WorkerSettings], run: Callable[[WorkerSettings], None]) -> None:
    """Run a process for each of `all_settings` until SIGTERM or SIGINT, or until all were told to stop.

    Args:
        all_settings: of each worker, with a folder of its own.
        run: what a process does with its settings; importable by name.
    """
    members = [_Member(settings, run) for settings in all_settings]
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _ask_to_stop)
    try:
        while not all(member.is_stopped for member in members):
            for member in members:
                if member.process is None and not member.is_stopped and time.monotonic() >= member.due_s:
                    member.start()
            _wait(members)
    except _StopAskedError:
        log.info("stopping workers=%s", len(members))
    finally:
        _stop(members)


def _wait(members: Sequence[_Member]) -> None:
    """Wait for an end, or until somebody is to be started again."""
    running = {member.process.sentinel: member for member in members if member.process is not None}
    pauses_s = [member.due_s - time.monotonic() for member in members if member.process is None]
    ended = wait(list(running), timeout=max(0.05, min([1.0, *pauses_s])))
    for sentinel in ended:
        if isinstance(sentinel, int):
            running[sentinel].note_end()


def _stop(members: Sequence[_Member]) -> None:
    processes = [member.process for member in members if member.process is not None]
    for process in processes:
        process.terminate()
    deadline_s = time.monotonic() + STOPPED_WITHIN_S
    for process in processes:
        process.join(max(0.0, deadline_s - time.monotonic()))
        if process.is_alive():
            process.kill()
            process.join()


def _ask_to_stop(number: int, frame: FrameType | None) -> NoReturn:
    del number, frame
    for asked in (signal.SIGTERM, signal.SIGINT):  # once is enough
        signal.signal(asked, signal.SIG_IGN)
    raise _StopAskedError
