"""What takes longer than a page: one at a time, in a thread with a loop of its own, so that pages go on meanwhile.

A job has a key. Whoever asks for one that runs or has lately ended is given that one, so a page that is loaded a
hundred times reads the ledger once. What waits and what is kept is bounded; what there is no room for is refused.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from pipeline.errors import PipelineError, UnavailableError

log = logging.getLogger(__name__)

MAX_WAITING = 64
MAX_KEPT = 256
FAILED_FRESH_S = 30.0
"""What went wrong may be over: it is said for no longer than this, and may then be asked for again."""

OnProgress = Callable[[int, int], None]
Work = Callable[[OnProgress], Awaitable[Any]]


@dataclass(slots=True)
class Job:
    """One piece of work."""

    key: str
    """What tells it from others."""
    work: Work = field(repr=False)
    done: int = 0
    """Of `total`, in records or what it reads."""
    total: int = 0
    result: Any = None
    error: str = ""
    """Why there is no result."""
    ended_at_s: float | None = None
    """None: it waits or runs. By the monotonic clock."""
    ended_at_ms: int = 0
    """The same for people."""

    @property
    def is_done(self) -> bool:
        """Whether it has ended, well or not."""
        return self.ended_at_s is not None

    @property
    def percent(self) -> int:
        """How far it is."""
        return 100 * self.done // self.total if self.total else 0


class _StoppedError(Exception):
    """The console ends."""


class Jobs:
    """Runs jobs while the block does."""

    def __init__(self) -> None:
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._waiting: queue.Queue[Job | None] = queue.Queue(MAX_WAITING)
        self._is_stopped = False
        # A daemon: what a job waits for does not hold the process up.
        self._thread = threading.Thread(target=self._run, name="jobs", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after what runs, which ends at the next step that it tells of."""
        self._is_stopped = True

    def ask(self, key: str, work: Work, *, fresh_s: float) -> Job:
        """Return the job of this key; a new one, if it ended longer ago than `fresh_s`.

        Raises:
            UnavailableError: too many wait.
        """
        known = self._jobs.get(key)
        if known is not None and _is_fresh(known, fresh_s):
            return known
        job = Job(key, work)
        try:
            self._waiting.put_nowait(job)
        except queue.Full:
            raise UnavailableError(f"{MAX_WAITING} other pages wait for the ledger: ask again in a minute") from None
        self._jobs[key] = job
        self._jobs.move_to_end(key)
        while len(self._jobs) > MAX_KEPT:
            self._jobs.popitem(last=False)
        return job

    def find(self, key: str) -> Job | None:
        """Return a job that is known, however old; one that failed, for a while."""
        known = self._jobs.get(key)
        return None if known is None or (known.error and not _is_fresh(known, FAILED_FRESH_S)) else known

    def _run(self) -> None:
        while not self._is_stopped:
            try:
                job = self._waiting.get(timeout=1.0)
            except queue.Empty:
                continue
            if job is not None:
                self._do(job)

    def _do(self, job: Job) -> None:
        def on_progress(done: int, total: int) -> None:
            if self._is_stopped:
                raise _StoppedError
            job.done, job.total = done, total

        async def work() -> Any:
            return await job.work(on_progress)

        try:
            job.result = asyncio.run(work())
        except _StoppedError:
            job.error = "the console ended"
        except PipelineError as error:
            job.error = str(error)
        except Exception as error:  # one page's fault is not the next one's
            log.exception("job-failed key=%s", job.key)
            job.error = f"{type(error).__name__}: see the console's log"
        job.ended_at_ms = time.time_ns() // 1_000_000
        job.ended_at_s = time.monotonic()


def _is_fresh(job: Job, fresh_s: float) -> bool:
    if job.error:
        fresh_s = min(fresh_s, FAILED_FRESH_S)
    return job.ended_at_s is None or time.monotonic() - job.ended_at_s < fresh_s
