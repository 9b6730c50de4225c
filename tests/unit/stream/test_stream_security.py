from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import ConfigError
from pipeline.settings import WorkerSettings
from pipeline.stream.credentials import faust_credentials
from pipeline.stream.security import KafkaSecurity, SecuredBroker, client_options, security_of
from tests.harness.certificates import issue

WITHIN_S = 60.0
SASL = {"security_protocol": "SASL_SSL", "sasl_mechanism": "SCRAM-SHA-512", "username": "ada", "password": "secret"}


def environment(fields: dict[str, str]) -> dict[str, str]:
    return {f"PIPELINE_KAFKA_{name.upper()}": text for name, text in fields.items()}


def test_an_address_alone_is_spoken_to_in_plain_text() -> None:
    spoken = {"bootstrap_servers": "kafka:9092", "security_protocol": "PLAINTEXT", "ssl_context": None}
    waits = {"request_timeout_ms": 12_000, "metadata_max_age_ms": 30_000, "connections_max_idle_ms": 240_000}
    assert client_options("kafka:9092") == spoken | waits
    assert faust_credentials("kafka:9092") is None


def test_what_the_environment_says_goes_to_every_client_with_the_address() -> None:
    broker = SecuredBroker("kafka:9092", KafkaSecurity.from_environment(environment(SASL) | {"PATH": "/bin"}))
    assert str(broker) == "kafka:9092"
    options = client_options(broker)
    assert type(options["bootstrap_servers"]) is str
    assert options["ssl_context"].check_hostname
    assert {name: options[name] for name in options if "sasl" in name or name == "security_protocol"} == {
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": "ada",
        "sasl_plain_password": "secret",
    }


def test_faust_is_given_a_context_whenever_tls_is_asked_for() -> None:
    # Without a context Faust makes SASL_SSL plain text, and says nothing.
    credentials = faust_credentials(SecuredBroker("kafka:9092", KafkaSecurity(**SASL)))
    assert credentials.protocol.value == "SASL_SSL"
    assert credentials.ssl_context is not None
    plain = faust_credentials(SecuredBroker("k:1", KafkaSecurity(**{**SASL, "security_protocol": "SASL_PLAINTEXT"})))
    assert plain.protocol.value == "SASL_PLAINTEXT"
    tls = faust_credentials(SecuredBroker("k:1", KafkaSecurity("SSL")))
    assert tls.protocol.value == "SSL"
    assert tls.context.check_hostname


def test_a_password_may_stand_in_a_file_and_is_never_shown(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("from-file\n", "utf-8")
    security = KafkaSecurity.from_environment(
        environment({**SASL, "password": "", "password_file": str(file), "key_password": "hidden"})
    )
    assert security.secret() == "from-file"
    assert "hidden" not in repr(security)
    assert "secret" not in repr(KafkaSecurity(**SASL))
    file.unlink()
    with pytest.raises(ConfigError, match="PIPELINE_KAFKA_PASSWORD_FILE: can't be read"):
        security.secret()


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"security_protocol": "TLS"}, "PIPELINE_KAFKA_SECURITY_PROTOCOL: 'TLS' is none of"),
        ({"sasl_mechanism": "GSSAPI"}, "PIPELINE_KAFKA_SASL_MECHANISM: 'GSSAPI' is none of"),
        ({"username": ""}, "PIPELINE_KAFKA_USERNAME: is missing"),
        ({"password": ""}, "PIPELINE_KAFKA_PASSWORD, PIPELINE_KAFKA_PASSWORD_FILE: one of the two"),
        ({"password_file": "x"}, "PIPELINE_KAFKA_PASSWORD, PIPELINE_KAFKA_PASSWORD_FILE: one of the two"),
        ({"ca_file": "none.pem"}, "PIPELINE_KAFKA_CA_FILE: there is no file none.pem"),
        # Names and passwords without SASL would be thought to be used.
        ({"security_protocol": "SSL"}, "PIPELINE_KAFKA_USERNAME: is set, but security_protocol does not begin"),
        ({"security_protocol": ""}, "PIPELINE_KAFKA_PASSWORD: is set, but"),
        ({"security_protocol": "SASL_PLAINTEXT", "ca_file": __file__}, "PIPELINE_KAFKA_CA_FILE: is set, but"),
        ({"protocol": "SSL"}, "PIPELINE_KAFKA_PROTOCOL: is unknown"),
    ],
)
def test_what_could_be_less_than_is_meant_is_refused(changes: dict[str, Any], fault: str) -> None:
    with pytest.raises(ConfigError, match=fault):
        KafkaSecurity.from_environment(environment({**SASL, **changes}))


def test_files_that_can_not_be_used_are_refused(tmp_path: Path) -> None:
    authority, certificate, key = issue(tmp_path, "127.0.0.1")
    assert KafkaSecurity(
        "SSL", ca_file=str(authority), certificate_file=str(certificate), key_file=str(key)
    ).ssl_context()
    for wrong in ({"ca_file": __file__}, {"certificate_file": str(certificate), "key_file": str(authority)}):
        with pytest.raises(ConfigError, match="can't be used"):
            KafkaSecurity("SSL", **wrong).ssl_context()


def test_an_address_keeps_its_security_wherever_it_is_handed_on() -> None:
    security = KafkaSecurity(**SASL)
    assert security_of({"broker": SecuredBroker("kafka:9092", security)}["broker"]) is security


def test_settings_with_an_address_go_whole_to_a_process_of_its_own(tmp_path: Path) -> None:
    settings = WorkerSettings(SecuredBroker("kafka-1:9092,kafka-2:9092", KafkaSecurity(**SASL)), tmp_path)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        seen = pool.submit(as_seen, settings).result(WITHIN_S)
    assert seen == ("kafka-1:9092,kafka-2:9092", SASL["password"])


def as_seen(settings: WorkerSettings) -> tuple[str, str]:
    return str(settings.broker), security_of(settings.broker).secret()


def test_a_message_shows_the_servers_alone() -> None:
    broker = SecuredBroker("kafka:9092", KafkaSecurity(**SASL))
    assert f"{broker}" == "kafka:9092"
    assert SASL["password"] not in repr(broker)


def test_no_client_is_made_without_what_the_address_says() -> None:
    package = Path(__file__).parents[3] / "pipeline"
    bare = [
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        # The demo and the brokers it starts are on loopback, in plain text.
        if path.parts[len(package.parts)] not in {"brokers", "demo"} and "bootstrap_servers=" in path.read_text("utf-8")
    ]
    assert bare == []
