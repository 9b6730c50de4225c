"""A Kafka to run on: embedded in this process, local on this machine, or the reader's own.

Three words on the command line choose it: `embedded`, `kafka`, or `host:port[,host:port]`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from pipeline.brokers.address import RemoteBroker
from pipeline.brokers.embedded import EmbeddedBroker
from pipeline.brokers.local_kafka import LocalKafka


class Broker(Protocol):
    """Something that speaks the Kafka protocol at an address."""

    @property
    def bootstrap_servers(self) -> str:
        """Where clients connect to first: `host:port[,host:port]`."""

    @property
    def supports_topic_creation(self) -> bool:
        """Whether CreateTopics works; if not, a topic comes into being when it is first asked for."""

    def stop(self) -> None:
        """End what was started for this broker; a second call does nothing."""


@contextmanager
def running_broker(choice: str, *, cache_dir: Path, fresh: bool = False) -> Iterator[Broker]:
    """Give the broker that `choice` names, and stop it afterwards if it was started here.

    `fresh` gives a local Kafka without earlier data, which is removed at the end.

    Raises ConfigError for a choice that is none, or if Java or Maven is missing; UnavailableError if
    the broker can't be brought up.
    """
    broker: Broker
    match choice:
        case "embedded":
            broker = EmbeddedBroker()
        case "kafka":
            broker = LocalKafka.start(cache_dir, fresh=fresh)
        case _:
            broker = RemoteBroker(choice)
    try:
        yield broker
    finally:
        broker.stop()


def default_cache_dir() -> Path:
    """Name the folder for what can be fetched or made again: jars, and a local Kafka's data."""
    configured = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG base directory specification: a relative path is to be ignored.
    home = Path(configured) if Path(configured).is_absolute() else Path.home() / ".cache"
    return home / "bandit-pipeline"
