"""Several workers on one machine, a process each: started together, and each again when it stopped by itself.

A worker stops rather than guess (exit code 70): when another one has taken its place, when the disk is full, when the
broker is away for too long. Started again it goes on from what is durable. If this process is killed, so are they.

What can't start is not started for ever: a worker that refuses what it is told (exit code 1) would refuse it again, and
one that ends time after time before it ever ran steadily has a reason that no pause mends. Then all of them end, and
this process with that exit code; its reason stands in the log above.
"""

from __future__ import annotations

import logging
import multiprocessing
import signal
import sys
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from types import FrameType
from typing import NoReturn

from pipeline.brokers.parent_watch import ParentWatch
from pipeline.cli.endings import REFUSED
from pipeline.settings import WorkerSettings

log = logging.getLogger(__name__)

FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 30.0
"""Before a worker is started again: twice as long each time."""
STEADY_S = 60.0
"""A worker that ran for so long begins with the first pause again."""
MOST_FALSE_STARTS = 5
"""In a row, of a worker that has never been steady: half a minute of pauses, which a broker may take to come up."""
STOPPED_WITHIN_S = 18.0
"""A worker ends by itself before that (`cli/worker.py`)."""


class _StopAskedError(Exception):
    """A signal asked to stop."""


class _Member:
    """One worker of them, and when to start it again."""

    def __init__(self, settings: WorkerSettings, run: Callable[[WorkerSettings], None]) -> None:
        self._settings = settings
        self._run = run
        self._pause_s = FIRST_PAUSE_S
        self.process: SpawnProcess | None = None
        self._false_starts = 0
        self._has_been_steady = False
        self.due_s = 0.0
        self.is_stopped = False
        self.hopeless: int | None = None
        """The exit code of a worker that is not to be started again."""

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
            self._has_been_steady = True
            self._pause_s = FIRST_PAUSE_S
        self._false_starts += (exit_code or 0) > 0  # by a signal: somebody meant it
        if exit_code == REFUSED or (self._false_starts >= MOST_FALSE_STARTS and not self._has_been_steady):
            self.hopeless = exit_code
            log.error("worker-hopeless state_dir=%s exit_code=%s", self._settings.state_dir, exit_code)
            return
        self.due_s = time.monotonic() + self._pause_s
        log.warning(
            "worker-ended state_dir=%s exit_code=%s again_in_s=%g", self._settings.state_dir, exit_code, self._pause_s
        )
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)


def run_processes(all_settings: Sequence[WorkerSettings], run: Callable[[WorkerSettings], None]) -> None:
    """Run a process for each of `all_settings` until SIGTERM or SIGINT, or until all were told to stop.

    Ends this process with a worker's exit code where that one can't start.

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
            hopeless = [member.hopeless for member in members if member.hopeless is not None]
            if hopeless:
                # A negative code is a signal's, which a shell would tell as 128 and its number.
                sys.exit(hopeless[0] if hopeless[0] > 0 else 128 - hopeless[0])
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
