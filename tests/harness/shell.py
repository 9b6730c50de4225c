"""One shell in which a page's commands are typed, one after the other, as a reader would.

What goes on until it is stopped (a worker, a node) runs in the background, as in a terminal of its own; the next of its
kind takes its place.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from pipeline.brokers.parent_watch import ParentWatch

DONE_WITHIN_S = 400.0
STOPPED_WITHIN_S = 30.0
LOOK_EVERY_S = 0.05
SERVICE = re.compile(r"pipeline (worker|serve|console|policy (?=ramp\b.*--every\b))")


class Ended(NamedTuple):
    """A command that came to its end."""

    code: int
    said: str
    complained: str


class Shell:
    """A bash in a folder of its own."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._logs = folder / ".typed"
        self._logs.mkdir()
        clean = {name: text for name, text in os.environ.items() if not name.startswith(("PIPELINE_", "CI"))}
        found = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "HOME": str(folder)}
        self._bash = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            stdin=subprocess.PIPE,
            cwd=folder,
            env={**clean, **found, **environment},
            text=True,
        )
        self._count = 0
        self._services: dict[str, tuple[int, Path, ParentWatch]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            for name in list(self._services):
                self.stop(name)
        finally:
            self._bash.kill()
            self._bash.communicate()

    def type(self, text: str) -> Ended:
        """Type a command and wait until it has ended."""
        self._count += 1
        out, errors, code = (self._logs / f"{self._count}.{kind}" for kind in ("out", "err", "code"))
        self._write(f"{{ {text}\n}} < /dev/null > {out} 2> {errors}\necho $? > {code}.part; mv {code}.part {code}\n")
        until(code.exists, f"{text!r} to end", DONE_WITHIN_S, lambda: errors.read_text("utf-8", "replace")[-2_000:])
        said = [path.read_text("utf-8", "replace") for path in (out, errors)]
        return Ended(int(code.read_text()), *said)

    def start(self, text: str) -> Callable[[], str]:
        """Type a command that goes on until it is stopped; return what reads its log."""
        name = kind_of(text)
        assert name is not None
        self.stop(name)
        self._count += 1
        log, pid = self._logs / f"{self._count}.log", self._logs / f"{self._count}.pid"
        self._write(f"(exec {text}\n) < /dev/null > {log} 2>&1 &\necho $! > {pid}.part; mv {pid}.part {pid}\n")
        until(pid.exists, f"{text!r} to start", STOPPED_WITHIN_S)
        number = int(pid.read_text())
        self._services[name] = (number, log, ParentWatch(number))
        return lambda: log.read_text("utf-8", "replace")

    def stop(self, name: str) -> None:
        """Stop what goes on, as Ctrl-C or a supervisor does."""
        if name not in self._services:
            return
        number, log, watch = self._services.pop(name)
        try:
            os.kill(number, signal.SIGTERM)
            ended = self._logs / f"{number}.ended"
            self._write(f"wait {number}; echo $? > {ended}\n")
            until(ended.exists, f"{name} to stop", STOPPED_WITHIN_S, lambda: log.read_text("utf-8", "replace")[-2_000:])
        finally:
            watch.cut()

    def is_running(self, name: str) -> bool:
        """Whether what was started goes on."""
        number = self._services[name][0]
        try:
            return not Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].lstrip().startswith("Z")
        except FileNotFoundError:
            return False

    def _write(self, text: str) -> None:
        assert self._bash.stdin is not None
        self._bash.stdin.write(text)
        self._bash.stdin.flush()


def kind_of(text: str) -> str | None:
    """Return what goes on until it is stopped: worker, serve, console, policy; None for what ends by itself."""
    found = SERVICE.match(text)
    return None if found is None else found[1].strip()


def until(look: Callable[[], object], what: str, within_s: float, tell: Callable[[], str] = str) -> None:
    """Wait for something, with a deadline."""
    deadline_s = time.monotonic() + within_s
    while not look():
        assert time.monotonic() < deadline_s, f"waited {within_s:g} s for {what}: {tell()}"
        time.sleep(LOOK_EVERY_S)
