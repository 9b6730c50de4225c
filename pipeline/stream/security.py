"""How Kafka is spoken to: one frozen setting that every client of this package is made with.

A broker is handed on as an `Address`: bootstrap servers alone, spoken to in plain text, or a record of them and
their security. Whoever is handed one has what it takes to connect, in a process of its own too.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Self

from pipeline.errors import ConfigError
from pipeline.stream.connections import mend_connections
from pipeline.stream.record_batches import can_read_any_batch
from pipeline.stream.timeouts import ANSWER_WITHIN_MS, IDLE_CONNECTION_MS, METADATA_AGE_MS

PREFIX = "PIPELINE_KAFKA_"
PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")


@dataclass(frozen=True, slots=True)
class KafkaSecurity:
    """Each field is an environment variable: `ca_file` is PIPELINE_KAFKA_CA_FILE."""

    security_protocol: str = "PLAINTEXT"
    """PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL."""
    sasl_mechanism: str = ""
    """PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512; with SASL."""
    username: str = ""
    """With SASL."""
    password: str = field(default="", repr=False)
    """With SASL; or in a file."""
    password_file: str = ""
    """File that holds the password, as secrets are mounted; a newline at its end does not count."""
    ca_file: str = ""
    """PEM file of the authorities that vouch for the brokers; empty: the system's."""
    certificate_file: str = ""
    """PEM file of this client's certificate, where the brokers ask for one."""
    key_file: str = ""
    """PEM file of its private key."""
    key_password: str = field(default="", repr=False)
    """Of that file, if it has one."""

    def __post_init__(self) -> None:
        faults = [*self._sasl_faults(), *self._tls_faults()]
        if self.security_protocol not in PROTOCOLS:
            faults.insert(0, _fault("security_protocol", f"{self.security_protocol!r} is none of {PROTOCOLS}"))
        if faults:
            raise ConfigError("Kafka security", faults)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Read the variables PIPELINE_KAFKA_*.

        Raises:
            ConfigError: with every fault; an unknown name is one, as a misspelt one would mean plain text.
        """
        given = {name.removeprefix(PREFIX).lower(): text for name, text in environment.items() if _is_ours(name)}
        known = [each.name for each in fields(cls)]
        unknown = [_fault(name, f"is unknown; known: {', '.join(known)}") for name in given if name not in known]
        if unknown:
            raise ConfigError("Kafka security", unknown)
        return cls(**{name: text for name, text in given.items() if text})

    @property
    def is_encrypted(self) -> bool:
        """Whether TLS is spoken."""
        return self.security_protocol in {"SSL", "SASL_SSL"}

    @property
    def has_sasl(self) -> bool:
        """Whether a name and a password are asked for."""
        return self.security_protocol.startswith("SASL")

    def secret(self) -> str:
        """Return the password. Raises ConfigError where its file can't be read."""
        if not self.password_file:
            return self.password
        try:
            return Path(self.password_file).read_text("utf-8").removesuffix("\n")
        except OSError as error:
            raise ConfigError("Kafka security", [_fault("password_file", f"can't be read: {error}")]) from error

    def ssl_context(self) -> ssl.SSLContext | None:
        """Return what checks the brokers' certificates and shows ours; None: no TLS.

        Raises ConfigError where a file can't be used.
        """
        if not self.is_encrypted:
            return None
        try:
            context = ssl.create_default_context(cafile=self.ca_file or None)
            if self.certificate_file:
                context.load_cert_chain(self.certificate_file, self.key_file or None, self.key_password or None)
        except (OSError, ssl.SSLError) as error:
            what = f"{self.ca_file or 'the system'}, {self.certificate_file or 'none'} can't be used: {error}"
            raise ConfigError("Kafka security", [_fault("ca_file, certificate_file", what)]) from error
        return context

    def _sasl_faults(self) -> list[str]:
        given = [name for name in ("username", "password", "password_file", "sasl_mechanism") if getattr(self, name)]
        if not self.has_sasl:
            return [_fault(name, "is set, but security_protocol does not begin with SASL") for name in given]
        faults = []
        if self.sasl_mechanism not in MECHANISMS:
            faults.append(_fault("sasl_mechanism", f"{self.sasl_mechanism!r} is none of {MECHANISMS}"))
        if not self.username:
            faults.append(_fault("username", "is missing"))
        if bool(self.password) == bool(self.password_file):
            faults.append(_fault("password, password_file", "one of the two is needed"))
        return faults

    def _tls_faults(self) -> list[str]:
        given = [name for name in ("ca_file", "certificate_file", "key_file") if getattr(self, name)]
        if not self.is_encrypted:
            return [_fault(name, "is set, but security_protocol does not end with SSL") for name in given]
        return [
            _fault(name, f"there is no file {getattr(self, name)}")
            for name in given
            if not Path(getattr(self, name)).is_file()
        ]


@dataclass(frozen=True, slots=True)
class SecuredBroker:
    """Bootstrap servers, and how to speak to them."""

    servers: str
    """`host:port[,host:port]`."""
    security: KafkaSecurity
    """Never shown with the address."""

    def __str__(self) -> str:
        """Give the servers alone, for logs and messages."""
        return self.servers


Address = str | SecuredBroker
"""A broker as it is handed on; servers alone are spoken to in plain text."""


def servers_of(broker: Address) -> list[str]:
    """Return the bootstrap servers.

    >>> servers_of(SecuredBroker("kafka-1:9092,kafka-2:9092", KafkaSecurity()))
    ['kafka-1:9092', 'kafka-2:9092']
    """
    return str(broker).split(",")


def security_of(broker: Address) -> KafkaSecurity:
    """Return how to speak to a broker."""
    return broker.security if isinstance(broker, SecuredBroker) else KafkaSecurity()


def client_options(broker: Address) -> dict[str, Any]:
    """Return what every aiokafka client is made with."""
    mend_connections()
    can_read_any_batch()
    security = security_of(broker)
    options: dict[str, Any] = {
        "bootstrap_servers": str(broker),
        "security_protocol": security.security_protocol,
        "ssl_context": security.ssl_context(),
        "request_timeout_ms": ANSWER_WITHIN_MS,
        "metadata_max_age_ms": METADATA_AGE_MS,
        "connections_max_idle_ms": IDLE_CONNECTION_MS,
    }
    if security.has_sasl:
        options |= {
            "sasl_mechanism": security.sasl_mechanism,
            "sasl_plain_username": security.username,
            "sasl_plain_password": security.secret(),
        }
    return options


def _is_ours(name: str) -> bool:
    return name.startswith(PREFIX)


def _fault(name: str, what: str) -> str:
    return f"{', '.join(PREFIX + each.upper() for each in name.split(', '))}: {what}"
