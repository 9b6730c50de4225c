"""One Kafka of a cluster: a process on a folder and ports that it keeps over `kill` and `start`."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from pipeline.brokers.kafka_jars import ops_file
from pipeline.brokers.parent_watch import ParentWatch
from pipeline.brokers.ports import HOST

STOPPED_WITHIN_S = 60.0


class Ports(NamedTuple):
    """Where one Kafka listens."""

    plain: int
    controller: int
    secured: int
    """For a listener that a test declares."""


class KafkaProcess:
    """A combined broker and controller."""

    def __init__(self, node: int, folder: Path, ports: Ports, java: Sequence[str], lock: int) -> None:
        """Say what it is, without starting it.

        Args:
            node: its id.
            folder: holds its `server.properties` and its formatted storage.
            ports: where it listens.
            java: starts a class of Kafka's.
            lock: file descriptor that it holds while it lives, and the cluster's folder with it.
        """
        self.node = node
        self.folder = folder
        self.ports = ports
        self.address = f"{HOST}:{ports.plain}"
        self._java = java
        self._lock = lock
        self._process: subprocess.Popen[bytes] | None = None
        self._parent_watch: ParentWatch | None = None

    @property
    def is_running(self) -> bool:
        """Whether the process lives; a frozen one does."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it; it may answer later."""
        assert not self.is_running, f"broker {self.node} runs already"
        logs = self.folder / "logs"
        logs.mkdir(exist_ok=True)
        self.folder.joinpath("log4j2.properties").write_text(ops_file("log4j2.properties"), "utf-8")
        with (logs / "console.log").open("ab") as console:
            self._process = subprocess.Popen(
                [*self._java, "kafka.Kafka", "server.properties"],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                pass_fds=(self._lock,),
                start_new_session=True,
            )
        self._parent_watch = ParentWatch(self._process.pid)

    def kill(self) -> None:
        """End it as `kill -9` does."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it in order: it hands over what it leads."""
        self._end(signal.SIGTERM)

    def freeze(self) -> None:
        """Let it hold its connections and say nothing, as a host does that is cut off."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Undo `freeze`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def quorum(self) -> tuple[int, int]:
        """Return what it knows of the controllers: (epoch, the node that leads them), -1 if none does."""
        state = self.folder / "data" / "__cluster_metadata-0" / "quorum-state"
        if not self.is_running or not state.exists():
            return -1, -1
        told = json.loads(state.read_text("utf-8"))
        return int(told["leaderEpoch"]), int(told["leaderId"])

    def last_words(self, lines: int = 20) -> str:
        """Return the end of what it logged."""
        log = self.folder / "logs" / "console.log"
        return "\n".join(log.read_text("utf-8", "replace").splitlines()[-lines:]) if log.exists() else ""

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
        self._process = None
        if self._parent_watch is not None:
            self._parent_watch.cut()
            self._parent_watch = None
