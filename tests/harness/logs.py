"""What befalls a topic from outside: it is deleted, emptied, or outlived by its retention."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable

from confluent_kafka import OFFSET_END, IsolationLevel, TopicCollection, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    OffsetSpec,
    ResourceType,
)

WITHIN_S = 30.0
POLL_S = 0.05
BITS = (1 << 64) - 1


class Logs:
    """The topics of a broker, in the hands of somebody who knows nothing of their readers."""

    def __init__(self, broker: str, partitions: int) -> None:
        self._admin = AdminClient({"bootstrap.servers": broker, "log_level": 0})
        self._partitions = partitions

    def id_of(self, topic: str) -> str:
        """Return a topic's id, as Java writes it: librdkafka's own spelling is another."""
        (told,) = self._admin.describe_topics(TopicCollection([topic])).values()
        found = told.result(WITHIN_S).topic_id
        high, low = found.get_most_significant_bits() & BITS, found.get_least_significant_bits() & BITS
        return str(uuid.UUID(int=high << 64 | low))

    def delete(self, topic: str) -> None:
        """Delete a topic, and wait until it is gone."""
        self._admin.delete_topics([topic])[topic].result(WITHIN_S)
        _until(lambda: topic not in self._admin.list_topics(timeout=WITHIN_S).topics, f"{topic} to be gone")

    def empty(self, topic: str) -> None:
        """Remove all that a topic holds, as `kafka-delete-records` does."""
        for done in self._admin.delete_records(self._places(topic, OFFSET_END)).values():
            done.result(WITHIN_S)

    def outlive(self, topic: str) -> None:
        """Let retention take all that a topic holds, and let it keep things again."""
        kept = self._configured(topic, "retention.ms")
        self._configure(topic, "retention.ms", "1")
        _until(lambda: self._first_offsets(topic) == self._ends(topic), f"retention to take {topic}")
        self._configure(topic, "retention.ms", kept)

    def count(self, topic: str) -> dict[tuple[str, int], int]:
        """Return how many offsets each partition holds."""
        first, ends = self._first_offsets(topic), self._ends(topic)
        return {(topic, number): end - first[number] for number, end in ends.items()}

    def _places(self, topic: str, offset: int) -> list[TopicPartition]:
        return [TopicPartition(topic, number, offset) for number in range(self._partitions)]

    def _first_offsets(self, topic: str) -> dict[int, int]:
        return self._offsets(topic, OffsetSpec.earliest())

    def _ends(self, topic: str) -> dict[int, int]:
        return self._offsets(topic, OffsetSpec.latest())

    def _offsets(self, topic: str, which: OffsetSpec) -> dict[int, int]:
        asked = dict.fromkeys(self._places(topic, OFFSET_END), which)
        told = self._admin.list_offsets(asked, isolation_level=IsolationLevel.READ_UNCOMMITTED)
        return {place.partition: one.result(WITHIN_S).offset for place, one in told.items()}

    def _configured(self, topic: str, name: str) -> str:
        (told,) = self._admin.describe_configs([ConfigResource(ResourceType.TOPIC, topic)]).values()
        return str(told.result(WITHIN_S)[name].value)

    def _configure(self, topic: str, name: str, value: str) -> None:
        entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
        for done in self._admin.incremental_alter_configs([resource]).values():
            done.result(WITHIN_S)


def _until(is_so: Callable[[], bool], what: str) -> None:
    deadline_s = time.monotonic() + WITHIN_S
    while not is_so():
        assert time.monotonic() < deadline_s, f"waited {WITHIN_S:.0f} s for {what}"
        time.sleep(POLL_S)
