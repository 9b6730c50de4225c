"""Three Kafkas, started together: one alone has no quorum.

Their settings are `ops/kafka/server.properties` with three replicas of everything, of which two must have a write, and
with Kafka's own time for how soon the controller gives a silent broker up: what clients make of it is what is measured.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from pipeline.brokers.folder import Folder, take_folder, taking_turns
from pipeline.brokers.kafka_jars import find_java, ops_file, resolve_jars
from pipeline.brokers.local_kafka import render_properties
from pipeline.brokers.ports import HOST, free_ports
from pipeline.brokers.storage import format_storage, new_cluster_id
from tests.harness.cluster.process import KafkaProcess, Ports

NODES = (1, 2, 3)
JVM_OPTIONS = ("-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
UP_WITHIN_S = 300.0
LOOK_S = 0.2
GIVEN_UP_AFTER_S = 9.0
"""Kafka's default of broker.session.timeout.ms: so long the controller waits for a silent broker."""
SETTINGS = f"""
node.id=@NODE@
controller.quorum.voters=@VOTERS@
default.replication.factor=3
min.insync.replicas=2
offsets.topic.replication.factor=3
transaction.state.log.replication.factor=3
transaction.state.log.min.isr=2
share.coordinator.state.topic.replication.factor=3
share.coordinator.state.topic.min.isr=2
broker.session.timeout.ms={GIVEN_UP_AFTER_S * 1000:.0f}
broker.heartbeat.interval.ms=2000
"""


class Cluster:
    """The three of them."""

    supports_topic_creation = True

    def __init__(self, folder: Folder, java: list[str], properties: str) -> None:
        self._folder = folder
        numbers = iter(free_ports(3 * len(NODES)))
        ports = {node: Ports(next(numbers), next(numbers), next(numbers)) for node in NODES}
        voters = ",".join(f"{node}@{HOST}:{one.controller}" for node, one in ports.items())
        self.brokers: dict[int, KafkaProcess] = {}
        for node, one in ports.items():
            home = folder.path / f"broker-{node}"
            home.mkdir()
            template = ops_file("server.properties") + SETTINGS + properties
            rendered = render_properties(template, one.plain, one.controller)
            for name, value in (("NODE", str(node)), ("VOTERS", voters), ("SECURED_PORT", str(one.secured))):
                rendered = rendered.replace(f"@{name}@", value)
            (home / "server.properties").write_text(rendered, "utf-8")
            (home / "log4j2.properties").write_text(ops_file("log4j2.properties"), "utf-8")
            self.brokers[node] = KafkaProcess(node, home, one, java, folder.lock)
        self._format(java)

    @classmethod
    def start(cls, cache_dir: Path, properties: str = "") -> Self:
        """Start it on a fresh folder, which `stop` removes.

        Args:
            cache_dir: where the jars are.
            properties: lines that count instead of those above; they may name @PORT@, @CONTROLLER_PORT@, @NODE@ and
                @SECURED_PORT@.
        """
        root = cache_dir.absolute() / "kafka"
        with taking_turns(root):
            jars = resolve_jars(cache_dir.absolute())
            folder = take_folder(root, fresh=True)
        logging = "-Dlog4j2.configurationFile=log4j2.properties"
        cluster = cls(folder, [find_java(), *JVM_OPTIONS, "-cp", f"{jars}/*", logging], properties)
        try:
            cluster.start_again(*NODES)
        except BaseException:
            cluster.stop()
            raise
        return cluster

    @property
    def bootstrap_servers(self) -> str:
        """Of all three."""
        return ",".join(broker.address for broker in self.brokers.values())

    @property
    def secured_servers(self) -> str:
        """The same, of the listener that a test has declared."""
        return ",".join(f"{HOST}:{broker.ports.secured}" for broker in self.brokers.values())

    def stop(self) -> None:
        """End all of it; its data are gone."""
        for broker in self.brokers.values():
            broker.kill()
        self._folder.release()

    def start_again(self, *nodes: int) -> None:
        """Start those that do not run, and wait until all of them serve and are in sync."""
        for node in nodes:
            if not self.brokers[node].is_running:
                self.brokers[node].start()
        self.wait_until_whole()

    def make_whole(self) -> None:
        """Undo what was done to its processes."""
        for broker in self.brokers.values():
            if broker.is_running:
                broker.thaw()
        self.start_again(*NODES)

    def roll(self) -> Iterable[int]:
        """Stop and start one after the other, each when the one before is in sync again; yields who is next."""
        for node, broker in self.brokers.items():
            yield node
            broker.stop()
            self.start_again(node)

    def wait_until_whole(self) -> None:
        """Wait until every broker serves, and every replica of every partition is in sync."""
        deadline = time.monotonic() + UP_WITHIN_S
        client = AdminClient(
            {
                "bootstrap.servers": self.bootstrap_servers,
                "log_level": 0,
                "reconnect.backoff.max.ms": 200,
                "socket.timeout.ms": 3_000,
            }
        )
        while not self._is_whole(client):
            for broker in self.brokers.values():
                assert broker.is_running, f"broker {broker.node} ended:\n{broker.last_words()}"
            words = "\n".join(broker.last_words(5) for broker in self.brokers.values())
            assert time.monotonic() < deadline, f"the cluster is not whole in {UP_WITHIN_S:.0f} s:\n{words}"
            time.sleep(LOOK_S)

    def _is_whole(self, client: AdminClient) -> bool:
        try:
            seen = client.list_topics(timeout=3.0)
        except KafkaException:
            return False
        partitions = [one for topic in seen.topics.values() for one in topic.partitions.values()]
        return set(seen.brokers) == set(NODES) and all(set(one.replicas) == set(one.isrs) for one in partitions)

    def _format(self, java: list[str]) -> None:
        """Format one storage by Kafka's tool, and make the others of it: each takes a JVM some seconds."""
        first, *others = self.brokers.values()
        format_storage([*java, "kafka.tools.StorageTool"], first.folder)
        for broker in others:
            shutil.copytree(first.folder / "data", broker.folder / "data")
            meta = broker.folder / "data" / "meta.properties"
            told = re.sub(r"(?m)^node\.id=.*$", f"node.id={broker.node}", meta.read_text("utf-8"))
            # A directory has an id of 16 random bytes, as a cluster has.
            told = re.sub(r"(?m)^directory\.id=.*$", f"directory.id={new_cluster_id()}", told)
            meta.write_text(told, "utf-8")
