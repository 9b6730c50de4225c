"""What was published last is found among whatever else stands in its topics."""

from __future__ import annotations

from types import SimpleNamespace

from aiokafka import TopicPartition

from pipeline.publish import versions
from pipeline.publish.parts import part_key
from pipeline.stream.log import topics


async def test_a_key_that_is_no_policy_s_is_passed_over(monkeypatch):
    strange = [(None, b"?"), (b"", b"?"), (b"\xff\xfe", b"?"), (b"\xff/part/x", b"?")]
    kept = [(b"homepage", b"first"), (part_key("homepage", "ab"), b"part"), (b"homepage", b"last"), (b"gone", None)]

    async def records(_outbox, partition, _since_ms):
        for key, value in [*strange, *kept] if partition.topic == topics.SNAPSHOTS else strange:
            yield SimpleNamespace(key=key, value=value, timestamp=1)

    async def partitions(_outbox, topic, _number):
        return [TopicPartition(topic, 0)]

    async def partition_count(_topic):
        return 1

    monkeypatch.setattr(versions, "_records", records)
    monkeypatch.setattr(versions, "_partitions", partitions)
    found = await versions.last_published(SimpleNamespace(partition_count=partition_count), 0)
    assert found["homepage"] == b"last"
