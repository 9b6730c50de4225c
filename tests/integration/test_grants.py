"""A Kafka with access control: each role does its work with what docs/brokers.md grants it; what lacks is named."""

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

import httpx
import orjson
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AclOperation, AdminClient, ResourceType

from pipeline.brokers.local_kafka import LocalKafka
from pipeline.brokers.ports import free_ports
from tests.harness.grants import ROLES, bindings, grant, revoke
from tests.integration.test_processes import POLICY
from tests.samples import plain_decision, plain_outcome

pytestmark = pytest.mark.kafka

WITHIN_S = 60.0
PASSWORD = "known-to-all"  # noqa: S105  of a broker that lives as long as this test


class Guarded:
    """A broker that lets nobody do anything who was not granted it, and the command line of each role."""

    def __init__(self, kafka: LocalKafka, port: int, folder: Path) -> None:
        self.kafka = kafka
        self.folder = folder
        self.admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers, "log_level": 0})
        self.address = f"127.0.0.1:{port}"

    def environment(self, role: str) -> dict[str, str]:
        clean = {name: text for name, text in os.environ.items() if not name.startswith("PIPELINE_")}
        if role == "admin":
            return clean | {"PIPELINE_BROKER": self.kafka.bootstrap_servers}
        security = {
            "SECURITY_PROTOCOL": "SASL_PLAINTEXT",
            "SASL_MECHANISM": "PLAIN",
            "USERNAME": role,
            "PASSWORD": PASSWORD,
        }
        named = {f"PIPELINE_KAFKA_{name}": text for name, text in security.items()}
        return clean | named | {"PIPELINE_BROKER": self.address}

    def run(self, role: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "pipeline", *arguments],
            env=self.environment(role),
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=WITHIN_S,
        )

    def do(self, role: str, *arguments: str) -> str:
        ended = self.run(role, *arguments)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    @contextmanager
    def running(self, role: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        with (self.folder / f"{role}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "pipeline", *arguments],
                env=self.environment(role),
                cwd=self.folder,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            yield process
            assert process.poll() is None, (self.folder / f"{role}.log").read_text("utf-8")[-3_000:]
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(WITHIN_S)

    def learned(self) -> int:
        """Return the clicks that the last snapshot counts."""
        shown = self.run("analyst", "snapshot", "show", "homepage", "--json")
        return 0 if shown.returncode else round(sum(arm["reward_sum"] for arm in orjson.loads(shown.stdout)["arms"]))

    def looked(self, role: str) -> dict[str, tuple[str, str]]:
        """Return what `pipeline doctor` sees as a role: status and words, by what was looked at."""
        findings = orjson.loads(self.run(role, "doctor", "--role", role, "--json").stdout)["findings"]
        return {each["what"]: (each["status"], each["seen"]) for each in findings}

    def until(self, look: Callable[[], object], what: str) -> None:
        deadline_s = time.monotonic() + WITHIN_S
        while not look():
            logs = "".join(log.read_text("utf-8")[-2_000:] for log in self.folder.glob("*.log"))
            assert time.monotonic() < deadline_s, f"waited for {what}: {logs}"
            time.sleep(0.1)


def release_of_jars() -> str:
    """Return how `pipeline doctor` calls the release that the local Kafka is of."""
    pom = (Path(__file__).parents[2] / "ops" / "kafka" / "pom.xml").read_text("utf-8")
    (found,) = re.findall(r"<kafka.version>(\d+\.\d+)", pom)
    return "4.1 or newer" if tuple(map(int, found.split("."))) >= (4, 1) else found


@pytest.fixture
def guarded(kafka_cache: Path, tmp_path: Path) -> Iterator[Guarded]:
    (port,) = free_ports(1)
    users = " ".join(f'user_{role}="{PASSWORD}"' for role in ROLES)
    kafka = LocalKafka.start(
        kafka_cache,
        fresh=True,
        properties=f"""
listeners=PLAINTEXT://127.0.0.1:@PORT@,GUARDED://127.0.0.1:{port},CONTROLLER://127.0.0.1:@CONTROLLER_PORT@
advertised.listeners=PLAINTEXT://127.0.0.1:@PORT@,GUARDED://127.0.0.1:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,GUARDED:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
sasl.enabled.mechanisms=PLAIN
listener.name.guarded.sasl.enabled.mechanisms=PLAIN
listener.name.guarded.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required {users};
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
""",
    )
    try:
        (tmp_path / "homepage.toml").write_text(POLICY, "utf-8")
        yield Guarded(kafka, port, tmp_path)
    finally:
        kafka.stop()


def test_each_role_works_with_what_the_docs_grant_it_and_what_lacks_is_named(guarded: Guarded) -> None:
    guarded.do("admin", "topics", "create", "--partitions", "2")
    refused = guarded.run("operator", "policy", "show")
    assert refused.returncode == 3
    (said,) = refused.stderr.splitlines()
    assert "the grant Read on topic policies lacks" in said
    for role in ROLES:
        grant(guarded.admin, bindings(role))
    guarded.do("operator", "policy", "apply", "homepage.toml")
    (port,) = free_ports(1)
    with (
        guarded.running("worker", "worker", "--idle-after", "0.5"),
        guarded.running("node", "serve", "--port", str(port)),
    ):
        security = {"sasl.mechanism": "PLAIN", "sasl.username": "producer", "sasl.password": PASSWORD}
        producer = Producer(
            {
                "bootstrap.servers": guarded.address,
                "security.protocol": "SASL_PLAINTEXT",
                "partitioner": "murmur2_random",
                **security,
            }
        )
        now_ms = time.time_ns() // 1_000_000
        for number in range(10):
            key = f"action-{number}"
            decision = plain_decision(key, now_ms, segment="all")
            producer.produce("decisions", orjson.dumps(decision), key.encode())
            producer.produce("outcomes", orjson.dumps(plain_outcome(key, now_ms + 1)), key.encode())
        assert producer.flush(WITHIN_S) == 0
        guarded.until(lambda: guarded.learned() == 10, "the producer's clicks")
        url = f"http://127.0.0.1:{port}/v1"
        for number in range(5):
            answer = httpx.post(f"{url}/policies/homepage/decide", json={}).json()
            outcome = {"action_id": answer["action_id"], "kind": "click", "outcome_id": str(number)}
            assert httpx.post(f"{url}/outcomes", json=outcome).status_code == 200
        guarded.until(lambda: guarded.learned() == 15, "the node's clicks")
        guarded.do("analyst", "verify", "--last", "2")
        seen = guarded.looked("worker")
        # One broker, whose release the jars' name says; one worker, which has claimed both partitions of each stage.
        assert seen["broker versions"] == ("ok", f"Kafka {release_of_jars()}: broker 1")
        for stage in ("join", "learn", "publish"):
            status, told = seen[f"claims of {stage}"]
            assert status == "ok"
            assert re.fullmatch(r"2 of 2 partitions, epochs 0 to 0; workers: \w+@127\.0\.0\.1 has 2", told), told
        assert "killed arms: b" in guarded.do("operator", "policy", "kill", "homepage", "--arm", "b")
    for role in ROLES:
        looked = guarded.run(role, "doctor", "--role", role)
        assert "lacks" not in looked.stdout or role == "operator", looked.stdout
    (taken,) = [
        each
        for each in bindings("node")
        if (each.restype, each.name, each.operation) == (ResourceType.TOPIC, "decisions", AclOperation.WRITE)
    ]
    revoke(guarded.admin, taken)
    ended = guarded.run("node", "serve", "--port", str(port))
    assert ended.returncode == 1, ended.stderr[-3_000:]
    assert "Write on topic decisions lacks" in ended.stderr
    assert "kafka-acls.sh" in ended.stderr
    for kind, name, operation, said in (
        (ResourceType.TOPIC, "decisions", AclOperation.WRITE, "Write on topic decisions lacks"),
        (
            ResourceType.TRANSACTIONAL_ID,
            "pipeline-",
            AclOperation.WRITE,
            "Write on transactional id pipeline-join-0 lacks",
        ),
        (ResourceType.GROUP, "pipeline", AclOperation.READ, "Read on group pipeline lacks"),
    ):
        (taken,) = [
            each for each in bindings("worker") if (each.restype, each.name, each.operation) == (kind, name, operation)
        ]
        revoke(guarded.admin, taken)
        ended = guarded.run("worker", "worker")
        assert ended.returncode == 1, ended.stderr[-3_000:]
        assert said in ended.stderr
        assert "kafka-acls.sh" in ended.stderr
        grant(guarded.admin, [taken])
