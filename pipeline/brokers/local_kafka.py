"""A local Apache Kafka of one node, run from its published jars: see `ops/kafka`.

It listens on loopback only, on ports of its own choice. It runs in a session of its own, so that Ctrl-C
reaches this process alone, which then stops it in order; if this process is killed, so is Kafka.
"""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path
from typing import Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from pipeline.brokers.folder import Folder, take_folder, taking_turns
from pipeline.brokers.kafka_jars import find_java, ops_file, resolve_jars
from pipeline.brokers.parent_watch import ParentWatch
from pipeline.brokers.ports import HOST, free_ports
from pipeline.brokers.storage import format_storage, read_cluster_id
from pipeline.errors import UnavailableError

_STARTED_WITHIN_S = 60.0
_STOPPED_WITHIN_S = 30.0
JVM_OPTIONS = ("-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
"""For a broker that lives for minutes beside all that uses it: Java's second compiler took more of a core in the first
half minute at 10,000 events/s than serving them did (0.32 against 0.18), to make up for it in hours."""
_LOG_NOTHING = 0  # a syslog level: a refused connection is no news while Kafka starts


class LocalKafka:
    """A Kafka process on one folder and one address, which it keeps over `kill` and `restart`."""

    supports_topic_creation = True

    def __init__(self, java: str, jars: Path, folder: Folder, properties: str = "") -> None:
        self._java = java
        self._jars = jars
        self._folder = folder
        self._properties = properties
        self._port, self._controller_port = free_ports(2)
        self._process: subprocess.Popen[bytes] | None = None
        self._parent_watch: ParentWatch | None = None
        self.bootstrap_servers = f"{HOST}:{self._port}"

    @classmethod
    def start(cls, cache_dir: Path, *, fresh: bool = False, properties: str = "") -> Self:
        """Start Kafka on the data kept under `cache_dir`, or on a `fresh` folder that `stop` removes.

        `properties` are lines of `server.properties` that come after ours, and count instead of them; they may name
        @PORT@ and @CONTROLLER_PORT@. The first time, Maven resolves the jars (about 45 MB). Raises ConfigError if
        Java or Maven is missing or the data are in use, UnavailableError if Maven can't resolve or Kafka does not
        come up.
        """
        root = cache_dir.absolute() / "kafka"
        java = find_java()
        with taking_turns(root):
            jars = resolve_jars(cache_dir.absolute())
            folder = take_folder(root, fresh=fresh)
        kafka = cls(java, jars, folder, properties)
        try:
            kafka._launch()
        except BaseException:
            kafka.stop()
            raise
        return kafka

    @property
    def data_folder(self) -> Path:
        """Where it keeps its logs: a folder for each partition, `<topic>-<number>`."""
        return self._folder.path / "data"

    @property
    def pid(self) -> int:
        """Of the process. Raises UnavailableError where none runs."""
        return self._running().pid

    @property
    def is_running(self) -> bool:
        """Whether the process lives; a paused one does."""
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """Stop Kafka in order, kill it if that takes too long, and let go of its folder."""
        self._end(signal.SIGTERM)
        self._folder.release()

    def halt(self) -> None:
        """Stop Kafka in order but keep its folder; `restart` brings it back."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End Kafka as `kill -9` does; `restart` brings it back on what it had written."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Freeze Kafka: connections stay open, nothing is answered."""
        self._running().send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Undo `pause`."""
        self._running().send_signal(signal.SIGCONT)

    def restart(self) -> None:
        """Stop Kafka in order if it runs, and start it again on the same data and address."""
        if not self._folder.is_held:
            raise UnavailableError("a Kafka that was stopped has let go of its data: start another one")
        self._end(signal.SIGTERM)
        self._launch()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            raise UnavailableError(f"the local Kafka at {self.bootstrap_servers} does not run")
        return self._process

    def _launch(self) -> None:
        path = self._folder.path
        path.joinpath("logs").mkdir(exist_ok=True)
        path.joinpath("log4j2.properties").write_text(ops_file("log4j2.properties"), "utf-8")
        template = ops_file("server.properties") + self._properties
        properties = render_properties(template, self._port, self._controller_port)
        path.joinpath("server.properties").write_text(properties, "utf-8")
        format_storage(self._java_command("kafka.tools.StorageTool"), path)
        with path.joinpath("logs", "console.log").open("wb") as console:
            # S603: the path is java's, the arguments are ours.
            self._process = subprocess.Popen(  # noqa: S603
                [*self._java_command("kafka.Kafka"), "server.properties"],
                cwd=path,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                pass_fds=(self._folder.lock,),
                start_new_session=True,
            )
        self._parent_watch = ParentWatch(self._process.pid)
        self._folder.note(f"process {self._process.pid}, to be used as --broker {self.bootstrap_servers}")
        self._wait_until_it_answers()

    def _java_command(self, main: str) -> list[str]:
        logging = "-Dlog4j2.configurationFile=log4j2.properties"
        return [self._java, *JVM_OPTIONS, "-cp", f"{self._jars}/*", logging, main]

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + _STARTED_WITHIN_S
        client = AdminClient(
            {
                "bootstrap.servers": self.bootstrap_servers,
                "log_level": _LOG_NOTHING,
                "reconnect.backoff.ms": 50,
                "reconnect.backoff.max.ms": 50,
            },
        )
        cluster = read_cluster_id(self._folder.path)
        while time.monotonic() < deadline:
            if not self.is_running:
                raise UnavailableError(f"Kafka ended while it started: {self._last_words()}")
            if _answers(client, cluster):
                return
        raise UnavailableError(f"Kafka did not answer in {_STARTED_WITHIN_S:.0f} s: {self._last_words()}")

    def _last_words(self) -> str:
        logs = [self._folder.path / "logs" / name for name in ("server.log", "console.log")]
        lines = [line for log in logs if log.exists() for line in log.read_text("utf-8", "replace").splitlines()]
        telling = [line for line in lines if " ERROR " in line or "Exception: " in line] or lines
        return " / ".join(telling[-8:]) or "it said nothing"

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(how)
        self._process.send_signal(signal.SIGCONT)  # a paused process would not see the other one
        try:
            self._process.wait(_STOPPED_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None
        if self._parent_watch is not None:
            self._parent_watch.cut()
            self._parent_watch = None


def _answers(client: AdminClient, cluster_id: str) -> bool:
    """Tell whether it is our Kafka that answers, and has joined its controller: then metadata name it."""
    try:
        metadata = client.list_topics(timeout=0.5)
    except KafkaException:
        return False
    return metadata.cluster_id == cluster_id and bool(metadata.brokers)


def render_properties(template: str, port: int, controller_port: int) -> str:
    """Fill the two ports into `server.properties`."""
    return template.replace("@PORT@", str(port)).replace("@CONTROLLER_PORT@", str(controller_port))
