"""Every component against a Kafka that takes only TLS and a name and password, or only a client's certificate."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
from confluent_kafka.admin import (
    AdminClient,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from pipeline.brokers.local_kafka import LocalKafka
from pipeline.brokers.ports import free_ports
from pipeline.errors import UnavailableError
from pipeline.serve.http.server import listening
from pipeline.serve.node import ServingNode
from pipeline.serve.settings import ServeSettings
from pipeline.stream.log.follow import TopicFollower
from pipeline.stream.log.topics import POLICIES
from pipeline.stream.security import KafkaSecurity, SecuredBroker
from tests.harness.certificates import issue
from tests.harness.worker import Worker

pytestmark = pytest.mark.kafka
WITHIN_S = 90.0
PASSWORD = "not-for-everybody"  # noqa: S105  of a broker that lives as long as this test
POLICY = """
name = "secured"
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
window = "1m"
[attribution]
settle = "optimistic"
grace = "1m"
[publish]
interval = "100ms"
"""


KINDS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "certificate")
LOGINS = {"PLAIN": f'plain.PlainLoginModule required user_pipeline="{PASSWORD}"'}
SCRAM_LOGIN = "scram.ScramLoginModule required"


class Secured(NamedTuple):
    """A broker that demands TLS and one more thing, and what opens it."""

    kind: str
    broker: SecuredBroker
    environment: dict[str, str]
    wrong: list[dict[str, str]]
    """Changes with which it does not open."""


@pytest.fixture(scope="module", params=KINDS)
def secured(
    kafka_cache: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Secured]:
    kind: str = request.param
    folder = tmp_path_factory.mktemp("certificates")
    authority, certificate, key = issue(folder, "127.0.0.1")
    stranger = issue(folder / "stranger", "127.0.0.1")
    identity = folder / "broker.pem"
    identity.write_text(key.read_text("utf-8") + certificate.read_text("utf-8"), "utf-8")
    (port,) = free_ports(1)
    if kind == "certificate":
        security = {"SECURITY_PROTOCOL": "SSL", "CERTIFICATE_FILE": str(certificate), "KEY_FILE": str(key)}
        wrong = [
            {"CERTIFICATE_FILE": "", "KEY_FILE": ""},
            {"CERTIFICATE_FILE": str(stranger.certificate), "KEY_FILE": str(stranger.key)},
        ]
        demanded = f"""
listener.name.secured.ssl.client.auth=required
listener.name.secured.ssl.truststore.type=PEM
listener.name.secured.ssl.truststore.location={authority}
"""
    else:
        security = {
            "SECURITY_PROTOCOL": "SASL_SSL",
            "SASL_MECHANISM": kind,
            "USERNAME": "pipeline",
            "PASSWORD": PASSWORD,
        }
        wrong = [{"PASSWORD": "wrong"}, {"USERNAME": "nobody"}]
        login = LOGINS.get(kind, SCRAM_LOGIN)
        demanded = f"""
sasl.enabled.mechanisms={kind}
listener.name.secured.sasl.enabled.mechanisms={kind}
listener.name.secured.{kind.lower()}.sasl.jaas.config=org.apache.kafka.common.security.{login};
"""
    kafka = LocalKafka.start(
        kafka_cache,
        fresh=True,
        properties=f"""
listeners=PLAINTEXT://127.0.0.1:@PORT@,SECURED://127.0.0.1:{port},CONTROLLER://127.0.0.1:@CONTROLLER_PORT@
advertised.listeners=PLAINTEXT://127.0.0.1:@PORT@,SECURED://127.0.0.1:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SECURED:{security["SECURITY_PROTOCOL"]},CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
listener.name.secured.ssl.keystore.type=PEM
listener.name.secured.ssl.keystore.location={identity}
{demanded}
""",
    )
    environment = {f"PIPELINE_KAFKA_{name}": text for name, text in (security | {"CA_FILE": str(authority)}).items()}
    try:
        if kind.startswith("SCRAM"):
            add_user(kafka.bootstrap_servers, kind)
        broker = SecuredBroker(f"127.0.0.1:{port}", KafkaSecurity.from_environment(environment))
        yield Secured(kind, broker, environment, [*wrong, {"CA_FILE": str(stranger.authority)}])
    finally:
        kafka.stop()


def add_user(broker: str, mechanism: str) -> None:
    """Tell the broker, over its inner listener, who may come in."""
    how = ScramCredentialInfo(ScramMechanism[mechanism.replace("-", "_")], 4_096)
    user = UserScramCredentialUpsertion("pipeline", how, PASSWORD.encode())
    admin = AdminClient({"bootstrap.servers": broker})  # without a name it is gone before it is answered
    for told in admin.alter_user_scram_credentials([user]).values():
        told.result(WITHIN_S)


def run(secured: Secured, *arguments: str, is_trusted: bool = True) -> subprocess.CompletedProcess[str]:
    environment = {name: text for name, text in os.environ.items() if not name.startswith("PIPELINE_")}
    return subprocess.run(
        [sys.executable, "-m", "pipeline", *arguments, "--broker", str(secured.broker)],
        env=environment | (secured.environment if is_trusted else {}),
        capture_output=True,
        text=True,
        check=False,
        timeout=WITHIN_S,
    )


async def test_the_whole_loop_runs_over_a_listener_that_demands_credentials(secured: Secured, tmp_path: Path) -> None:
    made = run(secured, "topics", "create", "--partitions", "2")
    assert made.returncode == 0, made.stderr
    policy = tmp_path / "secured.toml"
    policy.write_text(POLICY, "utf-8")
    applied = run(secured, "policy", "apply", str(policy))
    assert applied.returncode == 0, applied.stderr
    worker = Worker(str(secured.broker), tmp_path, partitions=2, environment=secured.environment)
    node = ServingNode(ServeSettings(secured.broker))
    async with asyncio.timeout(2 * WITHIN_S), node, listening(node, "127.0.0.1", 0) as url:
        with worker:
            await node.wait_ready("secured")
            async with httpx.AsyncClient(base_url=url) as client:
                for number in range(20):
                    answer = (await client.post("/v1/policies/secured/decide", json={})).json()
                    outcome = {"action_id": answer["action_id"], "kind": "click", "outcome_id": str(number)}
                    assert (await client.post("/v1/outcomes", json=outcome)).status_code == 200
            await node.flush()
            # 20 clicks on two priors of (1, 1): alpha comes to 22.
            deadline = time.monotonic() + WITHIN_S
            while (clicks := alpha(node)) < 22:
                assert time.monotonic() < deadline, f"{clicks - 2} of 20 clicks were learned"
                assert worker.is_running, worker.log.read_text("utf-8")
                await asyncio.sleep(0.1)
        verified = run(secured, "verify", "--policy", "secured")
        assert verified.returncode == 0, verified.stdout + verified.stderr
        letters = run(secured, "dead-letters", "list", "--json")
        assert letters.returncode == 0, letters.stderr
    written = worker.log.read_text("utf-8") + made.stderr + applied.stderr + verified.stderr
    assert PASSWORD not in written


def alpha(node: ServingNode) -> float:
    return float(node.follower.snapshots["secured"].segments["all"].posterior.parameters["alpha"].sum())


def test_without_credentials_nothing_is_let_in_and_the_exit_code_says_so(secured: Secured) -> None:
    refused = run(secured, "topics", "create", is_trusted=False)
    assert refused.returncode == 3, refused.stderr
    assert "Traceback" not in refused.stderr


async def test_wrong_credentials_and_an_unknown_authority_are_refused(secured: Secured) -> None:
    for changes in secured.wrong:
        changed = secured.environment | {f"PIPELINE_KAFKA_{name}": text for name, text in changes.items()}
        follower = TopicFollower(SecuredBroker(str(secured.broker), KafkaSecurity.from_environment(changed)), POLICIES)
        async with asyncio.timeout(WITHIN_S):
            with pytest.raises(UnavailableError):
                await follower.start()
            await follower.stop()
