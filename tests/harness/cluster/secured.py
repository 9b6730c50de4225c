"""A cluster with a listener that takes only TLS and SCRAM, and gives each role what docs/brokers.md grants it."""

from __future__ import annotations

from pathlib import Path

from confluent_kafka.admin import AdminClient, ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion

from tests.harness.certificates import issue
from tests.harness.cluster.cluster import Cluster
from tests.harness.grants import ROLES, WITHIN_S, bindings, grant

MECHANISM = "SCRAM-SHA-512"
ITERATIONS = 4_096
PASSWORD = "of-each-role"  # noqa: S105  of a cluster that lives as long as a test
PROPERTIES = """
listeners=PLAINTEXT://127.0.0.1:@PORT@,SECURED://127.0.0.1:@SECURED_PORT@,CONTROLLER://127.0.0.1:@CONTROLLER_PORT@
advertised.listeners=PLAINTEXT://127.0.0.1:@PORT@,SECURED://127.0.0.1:@SECURED_PORT@
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SECURED:SASL_SSL,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
listener.name.secured.ssl.keystore.type=PEM
listener.name.secured.ssl.keystore.location={identity}
sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.secured.sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.secured.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
"""
"""The plain listener is the brokers' own, and the harness's."""


def start_secured(cache_dir: Path, folder: Path) -> Cluster:
    """Start a cluster whose certificate and authority are in `folder`; each role's user has what the table says."""
    _, certificate, key = issue(folder, "127.0.0.1")
    identity = folder / "broker.pem"
    identity.write_text(key.read_text("utf-8") + certificate.read_text("utf-8"), "utf-8")
    cluster = Cluster.start(cache_dir, PROPERTIES.format(identity=identity))
    try:
        admin = AdminClient({"bootstrap.servers": cluster.bootstrap_servers, "log_level": 0})
        how = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, ITERATIONS)
        users = [UserScramCredentialUpsertion(role, how, PASSWORD.encode()) for role in ROLES]
        for told in admin.alter_user_scram_credentials(users).values():
            told.result(WITHIN_S)
        for role in ROLES:
            grant(admin, bindings(role))
    except BaseException:
        cluster.stop()
        raise
    return cluster


def environment(folder: Path, role: str) -> dict[str, str]:
    """Return what lets a role's processes in."""
    security = {
        "SECURITY_PROTOCOL": "SASL_SSL",
        "SASL_MECHANISM": MECHANISM,
        "USERNAME": role,
        "PASSWORD": PASSWORD,
        "CA_FILE": str(folder / "authority.pem"),
    }
    return {f"PIPELINE_KAFKA_{name}": text for name, text in security.items()}
