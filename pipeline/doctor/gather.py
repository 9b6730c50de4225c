"""Ask the brokers, by librdkafka's clients and not by those that are looked at; no question waits longer than told.

What this user may do is what the brokers themselves answer (KIP-430), so nothing is tried out; but for transactional
ids (`ask.py`), which have no such answer.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from confluent_kafka import (
    TIMESTAMP_LOG_APPEND_TIME,
    Consumer,
    ConsumerGroupTopicPartitions,
    IsolationLevel,
    KafkaError,
    KafkaException,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, ConfigResource, OffsetSpec, ResourceType

from pipeline.codec.murmur2 import partition_of
from pipeline.doctor.ask import refused_ids
from pipeline.doctor.facts import Cluster, Deployment, Operations, Sample, StateFolder, Topic
from pipeline.doctor.requirements import needs_of
from pipeline.errors import NotAllowedError, UnavailableError
from pipeline.stream.log import topics
from pipeline.stream.security import Address, security_of

WITHIN_S = 10.0
SAMPLED = 200
"""Records of each source topic."""
_SILENT = 0  # a syslog level: what it would log is told as a finding
_REFUSED = "TOPIC_AUTHORIZATION_FAILED"
EMBEDDED = "mockCluster"
"""What the id of librdkafka's in-process cluster begins with; it has no controller to ask."""


def client_settings(broker: Address) -> dict[str, Any]:
    """Return the same security as `stream/security.py` gives, as librdkafka takes it."""
    security = security_of(broker)
    named = {
        "sasl.mechanism": security.sasl_mechanism,
        "sasl.username": security.username,
        "sasl.password": security.secret() if security.has_sasl else "",
        "ssl.ca.location": security.ca_file,
        "ssl.certificate.location": security.certificate_file,
        "ssl.key.location": security.key_file,
        "ssl.key.password": security.key_password,
    }
    return {
        "bootstrap.servers": str(broker),
        "security.protocol": security.security_protocol,
        "log_level": _SILENT,
        "socket.timeout.ms": int(WITHIN_S * 1000),
        **{name: text for name, text in named.items() if text},
    }


class BrokerFacts:
    """One connection to ask by; blocking, so a program with a loop asks in a thread."""

    def __init__(self, broker: Address, app_id: str) -> None:
        self._broker = broker
        self._app_id = app_id
        self._refusals: list[str] = []
        self._admin = AdminClient({**client_settings(broker), "error_cb": self._note})

    def _note(self, error: Any) -> None:
        if error.name() in {"_AUTHENTICATION", "_SSL", "SASL_AUTHENTICATION_FAILED"}:
            self._refusals.append(error.str())

    def metadata(self) -> Any:
        """Return the brokers and the topics that this user sees.

        Raises:
            UnavailableError: no broker answers. NotAllowedError: it does not take our name or certificate.
        """
        try:
            return self._admin.list_topics(timeout=WITHIN_S)
        except KafkaException as error:
            if self._refusals:
                refused = f"{self._broker} refuses PIPELINE_KAFKA_*: {self._refusals[-1]}"
                raise NotAllowedError(refused) from error
            raise UnavailableError(f"no broker answers at {self._broker} within {WITHIN_S:g} s: {error}") from error

    def is_askable(self) -> bool:
        """Whether the broker answers questions about topics; the embedded one lets them wait."""
        return not self.metadata().cluster_id.startswith(EMBEDDED)

    def counts(self) -> dict[str, int]:
        """Return the partition counts of a deployment's topics, by one request.

        Raises:
            UnavailableError: no broker answers.
        """
        asked = self._admin.describe_topics(TopicCollection(sorted(needs_of(self._app_id))), request_timeout=WITHIN_S)
        told = {name: _answer(future) for name, future in asked.items()}
        failures = [answer for answer in told.values() if isinstance(answer, KafkaException)]
        if len(failures) == len(told):
            raise UnavailableError(f"no broker tells of topics: {failures[0]}")
        return {name: len(each.partitions) for name, each in told.items() if not isinstance(each, KafkaException)}

    def cluster(self) -> Cluster:
        """Return the topics of a deployment with their settings, and what this user may do.

        Raises:
            UnavailableError: no broker answers.
        """
        seen = self.metadata()
        if seen.cluster_id.startswith(EMBEDDED):
            return Cluster(len(seen.brokers), {}, is_askable=False)
        names = sorted(needs_of(self._app_id))
        asked = self._admin.describe_topics(
            TopicCollection(names), include_authorized_operations=True, request_timeout=WITHIN_S
        )
        described = {name: _answer(future) for name, future in asked.items()}
        settings = self._settings(names)
        found: dict[str, Topic | None] = {}
        for name in names:
            answer = described[name]
            if isinstance(answer, KafkaException):
                if name in seen.topics or answer.args[0].name() == _REFUSED:
                    found[name] = None
                continue
            held = [(len(each.replicas), len(each.isr)) for each in answer.partitions]
            found[name] = Topic(
                len(held),
                min((replicas for replicas, _ in held), default=0),
                min((in_sync for _, in_sync in held), default=0),
                settings.get(name),
                _operations(answer.authorized_operations),
            )
        return Cluster(len(seen.brokers), found, self._of_cluster(), self._of_group())

    def _settings(self, names: Sequence[str]) -> dict[str, Mapping[str, str]]:
        """Return the settings that this user may see, by topic."""
        resources = {ConfigResource(ResourceType.TOPIC, name): name for name in names}
        asked = self._admin.describe_configs(list(resources), request_timeout=WITHIN_S)
        told = {resources[resource]: _answer(future) for resource, future in asked.items()}
        return {
            name: {each.name: each.value for each in answer.values() if each.value is not None}
            for name, answer in told.items()
            if not isinstance(answer, KafkaException)
        }

    def _of_cluster(self) -> Operations | None:
        answer = _answer(self._admin.describe_cluster(include_authorized_operations=True, request_timeout=WITHIN_S))
        return None if isinstance(answer, KafkaException) else _operations(answer.authorized_operations)

    def _of_group(self) -> Operations | None:
        asked = self._admin.describe_consumer_groups(
            [self._app_id], include_authorized_operations=True, request_timeout=WITHIN_S
        )
        answer = _answer(asked[self._app_id])
        if isinstance(answer, KafkaException):
            # A group that nobody is in yet is not told of; what may be done with it shows when it is.
            return frozenset() if answer.args[0].name() == "GROUP_AUTHORIZATION_FAILED" else None
        return _operations(answer.authorized_operations)

    def deployment(self, cluster: Cluster) -> Deployment:
        """Return what workers have read, and a sample of what producers send."""
        read = (topics.DECISIONS, topics.OUTCOMES, topics.REWARDS, topics.STATISTICS)
        seen = {name: topic for name in read if (topic := cluster.topics.get(name)) is not None}
        committed = self._committed()
        lag = {name: self._lag(name, topic.partitions, committed) for name, topic in seen.items()}
        holders = self._holders()
        sources = [name for name in (topics.DECISIONS, topics.OUTCOMES) if name in seen]
        samples = {name: self._sample(name, seen[name]) for name in sources}
        owned = sum(holders.values())
        return Deployment(lag, len(holders), owned, samples, holders)

    def _committed(self) -> dict[tuple[str, int], int]:
        asked = self._admin.list_consumer_group_offsets(
            [ConsumerGroupTopicPartitions(self._app_id)], request_timeout=WITHIN_S
        )
        answer = _answer(asked[self._app_id])
        if isinstance(answer, KafkaException):
            return {}
        return {(each.topic, each.partition): each.offset for each in answer.topic_partitions if each.offset >= 0}

    def _lag(self, name: str, partitions: int, committed: Mapping[tuple[str, int], int]) -> int | None:
        ends = self._offsets(name, partitions, OffsetSpec.latest())
        begins = self._offsets(name, partitions, OffsetSpec.earliest())
        if not any((name, number) in committed for number in ends):
            return None if any(ends[number] > begins.get(number, 0) for number in ends) else 0
        return sum(max(0, end - committed.get((name, number), begins.get(number, 0))) for number, end in ends.items())

    def _offsets(self, name: str, partitions: int, spec: OffsetSpec) -> dict[int, int]:
        asked = self._admin.list_offsets(
            {TopicPartition(name, number): spec for number in range(partitions)},
            isolation_level=IsolationLevel.READ_COMMITTED,
            request_timeout=WITHIN_S,
        )
        answers = {partition.partition: _answer(future) for partition, future in asked.items()}
        return {number: told.offset for number, told in answers.items() if not isinstance(told, KafkaException)}

    def _holders(self) -> dict[str, int]:
        """Return the workers of the group, and how many partitions of `decisions` each has."""
        asked = self._admin.describe_consumer_groups([self._app_id], request_timeout=WITHIN_S)
        answer = _answer(asked[self._app_id])
        if isinstance(answer, KafkaException):
            return {}
        return {
            f"{member.member_id.rpartition('-')[2][:8]}@{member.host.strip('/')}": sum(
                each.topic == topics.DECISIONS
                for each in (member.assignment.topic_partitions if member.assignment else ())
            )
            for member in answer.members
        }

    def _sample(self, name: str, topic: Topic) -> Sample:
        ends = self._offsets(name, topic.partitions, OffsetSpec.latest())
        begins = self._offsets(name, topic.partitions, OffsetSpec.earliest())
        wanted = max(1, SAMPLED // max(1, len(ends)))
        starts = {number: max(begins.get(number, 0), end - wanted) for number, end in ends.items()}
        records = self._read(name, {number: start for number, start in starts.items() if start < ends[number]}, ends)
        # A tick, which a worker writes to a partition and not to a key's, has none.
        keyed = [record for record in records if record.key()]
        stamped = [record.timestamp() for record in records]
        ahead = [
            event_ms - record.timestamp()[1]
            for record in records
            if record.timestamp()[0] == TIMESTAMP_LOG_APPEND_TIME and (event_ms := _event_ms(record.value(), name))
        ]
        codec = (topic.settings or {}).get("compression.type", "")
        return Sample(
            len(keyed),
            sum(partition_of(record.key(), topic.partitions) == record.partition() for record in keyed),
            sum(zlib.crc32(record.key()) % topic.partitions == record.partition() for record in keyed),
            max((at_ms for _, at_ms in stamped), default=None),
            max(ahead, default=0),
            (codec,) if codec not in {"", "producer"} else (),
        )

    def _read(self, name: str, starts: Mapping[int, int], ends: Mapping[int, int]) -> list[Any]:
        if not starts:
            return []
        settings = {
            **client_settings(self._broker),
            "group.id": f"{self._app_id}-doctor",  # never joined, nothing is committed
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        }
        consumer = Consumer(settings)
        try:
            consumer.assign([TopicPartition(name, number, start) for number, start in starts.items()])
            records, left = [], set(starts)
            while left and (record := consumer.poll(WITHIN_S / 2)) is not None:
                if record.error():
                    left.discard(record.partition())
                    continue
                records.append(record)
                if record.offset() + 1 >= ends[record.partition()]:
                    left.discard(record.partition())
            return records
        finally:
            consumer.close()


def gather_cluster(broker: Address, app_id: str, partitions: int | None = None) -> Cluster:
    """Return everything that a worker looks at; for a thread of its own.

    Raises:
        UnavailableError: no broker answers.
    """
    cluster = BrokerFacts(broker, app_id).cluster()
    if not cluster.is_askable:
        return cluster
    decisions = cluster.topics.get(topics.DECISIONS)
    count = partitions or (decisions.partitions if decisions is not None else topics.DEFAULT_PARTITIONS)
    return cluster._replace(refused_ids=asyncio.run(refused_ids(broker, app_id, count)))


def look_at_folder(path: Path) -> StateFolder:
    """Return what is known of a state folder, or of the one that it would be made in."""
    place = path.absolute()
    there = next(each for each in (place, *place.parents) if each.exists())
    held = sum(file.stat().st_size for file in place.rglob("*") if file.is_file()) if place.exists() else 0
    broken = tuple(sorted(mark.name for mark in place.rglob("*.broken"))) if place.exists() else ()
    is_writable = os.access(there, os.W_OK | os.X_OK) and there.is_dir()
    return StateFolder(str(place), is_writable, shutil.disk_usage(there).free, held, broken)


def _event_ms(value: bytes | None, topic: str) -> int | None:
    """Return when an event says that it was, where it is one of ours or plain JSON."""
    from pipeline.codec.wire import decode_event  # noqa: PLC0415  many schemas, for a few records
    from pipeline.errors import RecordError  # noqa: PLC0415

    try:
        event: Any = decode_event(value, topic.removesuffix("s"), {})
    except RecordError:
        return None
    found = getattr(event, "decided_at_ms", None) or getattr(event, "occurred_at_ms", None)
    return None if found is None else int(found)


def _answer(future: Any) -> Any:
    """Return an answer, or why there is none: librdkafka's own thread may be late to say so, or never do."""
    try:
        return future.result(WITHIN_S + 1.0)
    except KafkaException as error:
        return error
    except TimeoutError:
        return KafkaException(KafkaError(KafkaError._TIMED_OUT))  # noqa: SLF001  the field's own name for it


def _operations(told: Iterable[Any] | None) -> Operations | None:
    """Return operations by the words of Kafka's tools: DESCRIBE_CONFIGS is DescribeConfigs."""
    if told is None:
        return None
    return frozenset("".join(word.capitalize() for word in each.name.split("_")) for each in told)
