"""A broker that somebody else runs, given by its address: nothing is started, nothing is stopped."""

from __future__ import annotations

from pipeline.errors import ConfigError

_HIGHEST_PORT = 2**16 - 1


class RemoteBroker:
    """A Kafka at one or several addresses."""

    supports_topic_creation = True

    def __init__(self, addresses: str) -> None:
        self.bootstrap_servers = parse_addresses(addresses)

    def stop(self) -> None:
        """Do nothing: it is not ours."""


def parse_addresses(text: str) -> str:
    """Return `host:port[,host:port]` without spaces, or raise ConfigError with every fault in it.

    >>> parse_addresses("kafka-1:9092, kafka-2:9092")
    'kafka-1:9092,kafka-2:9092'
    """
    addresses = [address.strip() for address in text.split(",")]
    faults = [
        f"{address!r} is not an address: expected host:port with a port of 1 to {_HIGHEST_PORT}"
        for address in addresses
        if not _is_address(address)
    ]
    if faults:
        raise ConfigError(f"broker {text!r}", [*faults, "accepted: embedded, kafka, host:port[,host:port]"])
    return ",".join(addresses)


def _is_address(address: str) -> bool:
    host, _, port = address.rpartition(":")
    if not (port.isascii() and port.isdigit() and 1 <= int(port) <= _HIGHEST_PORT):
        return False
    if host.startswith("[") and host.endswith("]"):
        return ":" in host  # an IPv6 address
    return host != "" and not any(character.isspace() or character in ":/" for character in host)
