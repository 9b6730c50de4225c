"""Which log a partition is: its topic's id, its leader's epoch, its first offset and its end, asked of the brokers.

aiokafka's own requests are older than topic ids. The two that are missing are defined here by its public building
blocks, each in the one version that is enough: Metadata 10 (Kafka 2.8; an older broker tells no topic id, and is asked
as aiokafka does) and OffsetForLeaderEpoch 2 and 3. Nothing here is asked while records are fetched: only when a
partition is opened, and by a watch every other second (`stream/log/watch.py`).
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from io import BytesIO
from typing import Any, ClassVar, NamedTuple, TypeAlias, TypeVar

from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import (
    KafkaError,
    OffsetOutOfRangeError,
    UnknownTopicOrPartitionError,
)
from aiokafka.protocol.abstract import AbstractType
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.metadata import MetadataRequest_v5
from aiokafka.protocol.types import (
    Array,
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Int64,
    Schema,
    String,
    TaggedFields,
)

from pipeline.errors import NotAllowedError
from pipeline.stream.log.offsets import CONSUMER, EARLIEST_MS, LATEST_MS, READ_UNCOMMITTED, ask_offsets, sure
from pipeline.stream.record_batches import RecordBatches
from pipeline.stream.refusals import check, unavailable

ANSWERED_WITHIN_S = 30.0
RETRY_S = 0.2
UNKNOWN_EPOCH = -1
NO_TOPIC = uuid.UUID(int=0)
_ONE_BATCH_BYTES = 1
"""The broker gives the first record batch whole, however little is asked for."""
_FETCH_BYTES = 64 << 20
_FETCH_WAIT_MS = 100

T = TypeVar("T")


class Uuid(AbstractType[uuid.UUID]):
    """16 bytes."""

    @classmethod
    def encode(cls, value: uuid.UUID) -> bytes:
        """Write it."""
        return value.bytes

    @classmethod
    def decode(cls, data: BytesIO) -> uuid.UUID:
        """Read it."""
        return uuid.UUID(bytes=data.read(16))


TAGS = ("tags", TaggedFields)


class MetadataResponse_v10(Response):  # noqa: N801  as aiokafka names them
    """Topics with their ids, partitions with their leaders' epochs."""

    API_KEY = 3
    API_VERSION = 10
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(
                ("node_id", Int32), ("host", CompactString()), ("port", Int32), ("rack", CompactString()), TAGS
            ),
        ),
        ("cluster_id", CompactString()),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("topic", CompactString()),
                ("topic_id", Uuid),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("isr", CompactArray(Int32)),
                        ("offline_replicas", CompactArray(Int32)),
                        TAGS,
                    ),
                ),
                ("authorized_operations", Int32),
                TAGS,
            ),
        ),
        ("cluster_authorized_operations", Int32),
        TAGS,
    )


class MetadataRequest_v10(RequestStruct):  # noqa: N801
    """Asks of topics by name."""

    API_KEY = 3
    API_VERSION = 10
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = MetadataResponse_v10
    SCHEMA = Schema(
        ("topics", CompactArray(("topic_id", Uuid), ("name", CompactString()), TAGS)),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
        TAGS,
    )


MetadataStruct: TypeAlias = MetadataRequest_v5 | MetadataRequest_v10


class TopicsRequest(Request[MetadataStruct]):
    """What there is of some topics; creates none."""

    API_KEY = 3

    def __init__(self, names: Sequence[str]) -> None:
        self._names = list(names)

    def build(self, request_struct_class: type[MetadataStruct]) -> MetadataStruct:
        """Return it in the version that the broker knows."""
        if request_struct_class is MetadataRequest_v10:
            topics: list[Any] = [(NO_TOPIC, name, {}) for name in self._names]
            return MetadataRequest_v10(topics, False, False, False, {})  # noqa: FBT003  by place, as on the wire
        return MetadataRequest_v5(self._names, False)  # noqa: FBT003


class OffsetForLeaderEpochResponse_v2(Response):  # noqa: N801
    """Where an epoch ends."""

    API_KEY = 23
    API_VERSION = 2
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "topics",
            Array(
                ("topic", String("utf-8")),
                (
                    "partitions",
                    Array(("error_code", Int16), ("partition", Int32), ("leader_epoch", Int32), ("end_offset", Int64)),
                ),
            ),
        ),
    )


_EPOCHS = (
    "topics",
    Array(
        ("topic", String("utf-8")),
        ("partitions", Array(("partition", Int32), ("current_leader_epoch", Int32), ("leader_epoch", Int32))),
    ),
)


class OffsetForLeaderEpochRequest_v2(RequestStruct):  # noqa: N801
    """Asks where an epoch ends."""

    API_KEY = 23
    API_VERSION = 2
    RESPONSE_TYPE = OffsetForLeaderEpochResponse_v2
    SCHEMA = Schema(_EPOCHS)


class OffsetForLeaderEpochResponse_v3(OffsetForLeaderEpochResponse_v2):  # noqa: N801
    """The same."""

    API_VERSION = 3


class OffsetForLeaderEpochRequest_v3(RequestStruct):  # noqa: N801
    """The same, by a consumer's right."""

    API_KEY = 23
    API_VERSION = 3
    RESPONSE_TYPE = OffsetForLeaderEpochResponse_v3
    SCHEMA = Schema(("replica_id", Int32), _EPOCHS)


EpochStruct: TypeAlias = OffsetForLeaderEpochRequest_v2 | OffsetForLeaderEpochRequest_v3


class EpochEndRequest(Request[EpochStruct]):
    """Where, in one partition, the records of a leader's epoch end."""

    API_KEY: ClassVar[int] = 23

    def __init__(self, partition: TopicPartition, epoch: int) -> None:
        self._topics = [(partition.topic, [(partition.partition, UNKNOWN_EPOCH, epoch)])]

    def build(self, request_struct_class: type[EpochStruct]) -> EpochStruct:
        """Return it in the version that the broker knows."""
        if request_struct_class is OffsetForLeaderEpochRequest_v3:
            return OffsetForLeaderEpochRequest_v3(CONSUMER, self._topics)
        return OffsetForLeaderEpochRequest_v2(self._topics)


class Log(NamedTuple):
    """One partition, as the brokers have it now."""

    cluster_id: str
    topic_id: str
    """Empty: the broker tells none."""
    leader: int
    leader_epoch: int
    """-1: the broker tells none."""
    first_offset: int
    """The first that is still kept."""
    end_offset: int


class LogLookup:
    """Asks the brokers over a client that is connected."""

    def __init__(self, client: AIOKafkaClient) -> None:
        self._client = client

    async def logs(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, Log]:
        """Return the partitions that exist.

        Raises:
            UnavailableError: no broker answers.
        """
        wanted = set(partitions)
        return await self._again(lambda: self._logs(wanted), f"{len(wanted)} partitions") if wanted else {}

    async def log(self, partition: TopicPartition) -> Log:
        """Return one partition. Raises UnavailableError where it does not exist, or nobody answers."""

        async def ask() -> Log:
            found = await self._logs({partition})
            if partition not in found:
                raise UnknownTopicOrPartitionError
            return found[partition]

        return await self._again(ask, f"{partition.topic}/{partition.partition}")

    async def epoch_end(self, partition: TopicPartition, log: Log, epoch: int) -> int:
        """Return the offset at which the records of `epoch` and of those before it end; -1: the broker can't tell."""
        if epoch == UNKNOWN_EPOCH:
            return -1

        async def ask() -> int:
            try:
                answer = await self._client.send(log.leader, EpochEndRequest(partition, epoch))
            except NotImplementedError:  # a broker that knows no epochs
                return -1
            ((_, ((code, _, _, end_offset),)),) = answer.topics
            check(code)
            return int(end_offset)

        return await self._again(ask, f"{partition.topic}/{partition.partition}")

    async def offset_at(self, partition: TopicPartition, log: Log, at_ms: int) -> int:
        """Return the first offset whose record is of that time or later; the end where there is none."""

        async def ask() -> int:
            return (await self._offsets(log.leader, [partition], max(0, at_ms)))[partition]

        offset = await self._again(ask, f"{partition.topic}/{partition.partition}")
        return log.end_offset if offset < 0 else offset

    async def record_at(self, partition: TopicPartition, log: Log, offset: int) -> Any | None:
        """Return the record at an offset; None: there is none (any more)."""

        async def ask() -> Any | None:
            wanted = [(partition.topic, [(partition.partition, offset, _ONE_BATCH_BYTES)])]
            request = FetchRequest(_FETCH_WAIT_MS, 1, _FETCH_BYTES, READ_UNCOMMITTED, wanted)
            answer = await self._client.send(log.leader, request)
            check(getattr(answer, "error_code", 0))
            ((_, ((_, code, *_, content),)),) = answer.topics
            try:
                check(code)
            except OffsetOutOfRangeError:
                return None
            return _record_at(content or b"", offset)

        return await self._again(ask, f"{partition.topic}/{partition.partition}")

    async def _logs(self, wanted: set[TopicPartition]) -> dict[TopicPartition, Log]:
        answer = await self._topics(sorted({partition.topic for partition in wanted}))
        by_leader: defaultdict[int, dict[TopicPartition, tuple[str, int]]] = defaultdict(dict)
        for topic in answer["topics"]:
            topic_id = topic.get("topic_id", NO_TOPIC)
            for each in topic["partitions"]:
                partition = TopicPartition(topic["topic"], each["partition"])
                if partition in wanted and not topic["error_code"]:
                    found = "" if topic_id == NO_TOPIC else str(topic_id), each.get("leader_epoch", UNKNOWN_EPOCH)
                    by_leader[each["leader"]][partition] = found
        logs = {}
        for leader, partitions in by_leader.items():
            firsts = await self._offsets(leader, partitions, EARLIEST_MS)
            ends = await self._offsets(leader, partitions, LATEST_MS)
            for partition, (topic_id, epoch) in partitions.items():
                logs[partition] = Log(
                    answer["cluster_id"] or "", topic_id, leader, epoch, firsts[partition], ends[partition]
                )
        return logs

    async def _topics(self, names: Sequence[str]) -> Mapping[str, Any]:
        answer = await self._client.send(self._client.get_random_node(), TopicsRequest(names))
        found: Mapping[str, Any] = answer.to_object()
        return found

    async def _offsets(
        self, leader: int, partitions: Iterable[TopicPartition], at_ms: int
    ) -> dict[TopicPartition, int]:
        told = await ask_offsets(self._client, leader, partitions, at_ms, READ_UNCOMMITTED)
        return {partition: sure(one) for partition, one in told.items()}

    async def _again(self, ask: Callable[[], Awaitable[T]], what: str) -> T:
        """Ask until there is an answer: leaders move, and topics are being made."""
        deadline_s = time.monotonic() + ANSWERED_WITHIN_S
        while True:
            try:
                return await ask()
            except KafkaError as error:
                refused = unavailable(f"the brokers don't tell of {what}", error, "Describe", what)
                if isinstance(refused, NotAllowedError) or time.monotonic() > deadline_s:
                    raise refused from error
            await asyncio.sleep(RETRY_S)
            await self._client.force_metadata_update()


def _record_at(content: bytes, offset: int) -> Any | None:
    batches = RecordBatches(content)
    while (batch := batches.next_batch()) is not None:
        if batch.next_offset <= offset or batch.is_control_batch:
            continue
        for record in batch:
            if record.offset >= offset:
                return record if record.offset == offset else None
    return None
