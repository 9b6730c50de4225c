"""A worker that is started again whenever it ends, as systemd or Kubernetes would."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from tests.harness.worker import Worker

MOST_LIVES = 60
LONGEST_PAUSE_S = 2.0
LOOK_S = 0.1


class Supervised:
    """One worker with many lives; what is between them is said by `between`."""

    def __init__(
        self, worker: Worker, *, between: Callable[[], None] = lambda: None, failpoint: str | None = None
    ) -> None:
        """Take a worker that is not started yet.

        Args:
            worker: to be looked after.
            between: called when it has ended, before it starts again.
            failpoint: for its first life.
        """
        self.worker = worker
        self.ends: list[int] = []
        """How each life ended, -9 by `kill -9`."""
        self._between = between
        self._failpoint = failpoint
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._look_after, daemon=True)

    def __enter__(self) -> Self:
        self.worker.start(self._failpoint)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def is_running(self) -> bool:
        """Whether it runs or will run again."""
        return self._thread.is_alive()

    @property
    def exit_code(self) -> int | None:
        """How its last life ended."""
        return self.ends[-1] if self.ends else None

    def kill(self) -> None:
        """End this life as `kill -9` does; returns when it is over."""
        lives = len(self.ends)
        self.worker.signal_kill()
        while len(self.ends) == lives and self._thread.is_alive():
            self._is_over.wait(LOOK_S)

    def stop(self) -> None:
        """End it for good, in order."""
        self._is_over.set()
        self._thread.join()
        self.worker.stop()

    def stop_at_once(self) -> None:
        """End it for good as `kill -9` does."""
        self._is_over.set()
        self._thread.join()
        self.worker.kill()

    def last_words(self, lines: int = 20) -> str:
        return self.worker.last_words(lines)

    def _look_after(self) -> None:
        while not self._is_over.wait(LOOK_S):
            if self.worker.is_running:
                continue
            self.ends.append(self.worker.exit_code or 0)
            if len(self.ends) == MOST_LIVES:
                return
            self._between()
            # One that ends at once, because the broker is away, is not started without end.
            if self.ends[-1] != -9 and self._is_over.wait(LONGEST_PAUSE_S):
                return
            self.worker.start()
