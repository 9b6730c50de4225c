"""`pipeline worker --processes`, as a user starts it: workers join, learn, are started again, and stop when told to."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
import pytest
from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient

from pipeline.brokers.local_kafka import LocalKafka
from tests.samples import plain_decision, plain_outcome

pytestmark = pytest.mark.kafka

WITHIN_S = 60.0
STOPPED_WITHIN_S = 20.0
"""What an operator is promised."""
PARTITIONS = 6
"""Another number than the default: workers are not told it."""
POLICY = """
name = "homepage"
[[arms]]
name = "a"
[[arms]]
name = "b"
[segments]
default = "all"
[algorithm]
name = "beta_thompson"
[reward]
low = 0.0
high = 1.0
[[reward.outcomes]]
kind = "click"
worth = 1.0
window = "10s"
[attribution]
settle = "optimistic"
grace = "30s"
[publish]
interval = "100ms"
"""


class Deployment:
    """A broker, and the command line against it."""

    def __init__(self, kafka: LocalKafka, folder: Path) -> None:
        self.kafka = kafka
        self.folder = folder
        self.log = folder / "workers.log"
        clean = {name: text for name, text in os.environ.items() if not name.startswith("PIPELINE_")}
        self.environment = clean | {"PIPELINE_BROKER": kafka.bootstrap_servers}
        self._sent = 0

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "pipeline", *arguments]
        return subprocess.run(
            command, env=self.environment, cwd=self.folder, capture_output=True, text=True, check=False, timeout=60
        )

    def do(self, *arguments: str) -> None:
        """Run a command that must succeed."""
        ended = self.run(*arguments)
        assert ended.returncode == 0, ended.stdout + ended.stderr

    @contextmanager
    def workers(self, *options: str) -> Iterator[subprocess.Popen[bytes]]:
        with self.log.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "pipeline", "worker", "--session-timeout", "6", *options],
                env=self.environment,
                cwd=self.folder,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def started(self) -> list[int]:
        """Return the workers' process ids, in the order in which they were started."""
        return [int(pid) for pid in re.findall(r"worker-started .*pid=(\d+)", self.log.read_text("utf-8"))]

    def members(self) -> int:
        """Return how many members have partitions; none while the group changes."""
        admin = AdminClient({"bootstrap.servers": self.kafka.bootstrap_servers, "log_level": 0})
        try:
            (group,) = [told.result() for told in admin.describe_consumer_groups(["pipeline"]).values()]
        except KafkaException:  # a broker that has just started knows no coordinator yet
            return 0
        return sum(bool(member.assignment and member.assignment.topic_partitions) for member in group.members)

    def click(self, count: int) -> None:
        """Send decisions and a click for each."""
        producer = Producer({"bootstrap.servers": self.kafka.bootstrap_servers, "partitioner": "murmur2_random"})
        now_ms = time.time_ns() // 1_000_000
        for number in range(self._sent, self._sent + count):
            key = f"action-{number}"
            for topic, record in (
                ("decisions", plain_decision(key, now_ms, segment="all")),
                ("outcomes", plain_outcome(key, now_ms + 1, f"click-{number}")),
            ):
                producer.produce(topic, orjson.dumps(record), key.encode())
        assert producer.flush(WITHIN_S) == 0
        self._sent += count

    def learned(self) -> int:
        """Return the clicks that the last snapshot counts."""
        shown = self.run("snapshot", "show", "homepage", "--json")
        if shown.returncode:
            return 0  # there is none yet
        return round(sum(arm["reward_sum"] for arm in orjson.loads(shown.stdout)["arms"]))

    def until(self, look: Callable[[], object], what: str) -> None:
        deadline_s = time.monotonic() + WITHIN_S
        while not look():
            assert time.monotonic() < deadline_s, f"waited for {what}: {self.log.read_text('utf-8')[-3_000:]}"
            time.sleep(0.1)


@pytest.fixture
def deployment(own_kafka: LocalKafka, tmp_path: Path) -> Deployment:
    one = Deployment(own_kafka, tmp_path)
    one.do("topics", "create", "--partitions", str(PARTITIONS))
    (tmp_path / "homepage.toml").write_text(POLICY, "utf-8")
    one.do("policy", "apply", "homepage.toml")
    return one


def test_processes_join_learn_are_started_again_and_stop_in_time_even_if_the_broker_is_frozen(
    deployment: Deployment,
) -> None:
    with deployment.workers("--processes", "2", "--log-format", "json") as parent:
        deployment.until(lambda: deployment.members() == 2, "two workers with partitions")
        deployment.click(30)
        deployment.until(lambda: deployment.learned() == 30, "30 clicks")
        os.kill(deployment.started()[0], signal.SIGKILL)
        deployment.until(lambda: len(deployment.started()) == 3, "the killed worker to be started again")
        deployment.click(30)
        deployment.until(lambda: deployment.learned() == 60, "60 clicks")
        deployment.until(lambda: deployment.members() == 2, "two workers with partitions again")
        parent.send_signal(signal.SIGTERM)
        assert parent.wait(STOPPED_WITHIN_S) == 0
        # A line is a document, whoever says it: this package, its parent of processes, Faust, aiokafka.
        lines = list(map(orjson.loads, deployment.log.read_text("utf-8").splitlines()))
        assert {line["logger"].split(".")[0] for line in lines} >= {"pipeline", "faust", "aiokafka"}
        assert {"worker-started", "restored", "snapshot-published"} <= {line.get("event") for line in lines}
        assert "stopped-at-once" not in {line.get("event") for line in lines}
    with deployment.workers("--processes", "2") as parent:
        deployment.until(lambda: deployment.members() == 2, "two workers with partitions")
        deployment.click(30)
        deployment.kafka.pause()
        try:
            parent.send_signal(signal.SIGTERM)
            assert parent.wait(STOPPED_WITHIN_S) == 0
        finally:
            deployment.kafka.resume()
        # By themselves, before their parent would have killed them: at once where somebody waits for the broker, and
        # in order where nobody does.
        said = deployment.log.read_text("utf-8")
        assert said.count("stopped-at-once") + said.count("Closing event loop") >= 2, said[-3_000:]
    with deployment.workers():
        deployment.until(lambda: deployment.learned() == 90, "90 clicks")
