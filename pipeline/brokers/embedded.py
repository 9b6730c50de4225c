"""A broker inside this process, for the demo and quick tests: no Java, no port to choose, no files.

It is the mock cluster of librdkafka, which comes with the `confluent-kafka` wheel. Its limits:

- every topic has 4 partitions, and comes into being when a client first asks for it; CreateTopics is unknown
- about 5 MB are kept per partition, then the oldest records go; everything goes at the end
- one Faust worker only: a second one fails at SyncGroup
"""

from __future__ import annotations

from confluent_kafka import KafkaException, Producer

from pipeline.errors import UnavailableError

PARTITIONS = 4

_ANSWERS_WITHIN_S = 10.0
_LOG_ERRORS_ONLY = 3  # a syslog level: the notice that the cluster is a mock is of level 5


class EmbeddedBroker:
    """A mock cluster of one broker on a loopback port."""

    supports_topic_creation = False

    def __init__(self) -> None:
        # The cluster lives as long as this producer, which never produces; its bootstrap.servers is ignored.
        self._cluster = Producer(
            {"test.mock.num.brokers": 1, "bootstrap.servers": "ignored", "log_level": _LOG_ERRORS_ONLY},
        )
        try:
            brokers = self._cluster.list_topics(timeout=_ANSWERS_WITHIN_S).brokers.values()
        except KafkaException as error:
            raise UnavailableError(f"the embedded broker does not answer: {error}") from error
        self.bootstrap_servers = ",".join(f"{broker.host}:{broker.port}" for broker in brokers)

    def stop(self) -> None:
        """End the cluster with all its records."""
        self._cluster = None
