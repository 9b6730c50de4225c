"""A worker process of a test's own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from pipeline.brokers.parent_watch import ParentWatch

STOPPED_WITHIN_S = 30.0


class Worker:
    """`pipeline worker` on a state folder; started again, it goes on with what is there."""

    def __init__(
        self,
        broker: str,
        folder: Path,
        *,
        app_id: str = "pipeline",
        partitions: int = 4,
        state_dir: Path | None = None,
        checkout: Path | None = None,
        environment: Mapping[str, str] | None = None,
        **options: str,
    ) -> None:
        """Say how it is to run.

        Args:
            broker: its address.
            folder: its log is kept there, and its state unless `state_dir` is given.
            app_id: its deployment.
            partitions: of the topics that carry events.
            state_dir: where its state is kept.
            checkout: the code that it runs; the tests' own if not given.
            environment: more variables, such as PIPELINE_KAFKA_USERNAME.
            options: more flags, such as `idle_after="2"`.
        """
        self.state_dir = state_dir or folder / "state"
        self._checkout = checkout
        self._environment = dict(environment or {})
        self.log = folder / "worker.log"
        self._options = {
            "--broker": broker,
            "--state-dir": str(self.state_dir),
            "--app-id": app_id,
            "--partitions": str(partitions),
            # Tests say themselves when time passes: a worker's own ticks would depend on how fast they run.
            "--idle-after": "86400",
            **{f"--{name.replace('_', '-')}": value for name, value in options.items()},
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._parent_watch: ParentWatch | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """How it ended; None while it runs."""
        return None if self._process is None else self._process.poll()

    def start(self, failpoint: str | None = None) -> None:
        """Start it; with a failpoint, such as `join.outputs-sent:2`, it kills itself there."""
        assert not self.is_running
        self.log.parent.mkdir(parents=True, exist_ok=True)
        options = [part for option in self._options.items() for part in option]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PIPELINE_")}
        if failpoint is not None:
            environment["PIPELINE_FAILPOINT"] = failpoint
        environment |= self._environment
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "pipeline", "worker", "--no-create-topics", *options],
                cwd=self._checkout,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        if self._parent_watch is not None:
            self._parent_watch.cut()  # of a life that ended by itself: its number may be another's now
        self._parent_watch = ParentWatch(self._process.pid)

    def kill(self) -> None:
        """End it as `kill -9` does."""
        self._end(signal.SIGKILL)

    def signal_kill(self) -> None:
        """Send it what `kill -9` sends, and leave it to others to see it end."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()

    def stop(self) -> None:
        """End it in order; killed if that takes too long."""
        self._end(signal.SIGTERM)

    def pause(self) -> None:
        """Freeze it: it holds its connections and says nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def wait(self, within_s: float) -> int | None:
        """Return how it ended, None if it runs on."""
        assert self._process is not None
        try:
            return self._process.wait(within_s)
        except subprocess.TimeoutExpired:
            return None

    def last_words(self, lines: int = 20) -> str:
        """Return the end of its log."""
        return "\n".join(self.log.read_text("utf-8", "replace").splitlines()[-lines:])

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(how)
            self._process.send_signal(signal.SIGCONT)  # a frozen one would not see the other
        try:
            self._process.wait(STOPPED_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._parent_watch is not None:
            self._parent_watch.cut()
            self._parent_watch = None
