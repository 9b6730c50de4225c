from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from aiokafka.consumer.fetcher import READ_UNCOMMITTED, FetchError, FetchResult, PartitionRecords
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import TopicPartition

from pipeline.stream.batch import RecordsAsRead

TP = TopicPartition("decisions", 3)


def fetched() -> FetchResult:
    """Return what a fetch of two records, a tombstone among them, becomes in aiokafka."""
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, 0, 1 << 16)
    builder.append(0, timestamp=1_000, key=b"x", value=b"one", headers=[])
    builder.append(1, timestamp=1_001, key=b"y", value=None, headers=[("h", b"v")])
    records = PartitionRecords(
        TP,
        MemoryRecords(bytes(builder.build())),
        aborted_transactions=[],
        fetch_offset=0,
        key_deserializer=None,
        value_deserializer=None,
        check_crcs=True,
        isolation_level=READ_UNCOMMITTED,
    )
    assignment: Any = SimpleNamespace(state_value=lambda _: None)
    return FetchResult(TP, assignment=assignment, partition_records=records, backoff=0.1)


def fields(records: Any) -> list[tuple[Any, ...]]:
    return [(r.offset, r.timestamp, r.timestamp_type, r.key, r.value) for r in records]


def test_records_as_read_say_what_aiokafka_s_copies_say():
    kept = RecordsAsRead()
    kept[TP] = fetched()
    as_read = list(kept[TP]._partition_records)
    copied = list(fetched()._partition_records)
    assert fields(as_read) == fields(copied) == [(0, 1_000, 0, b"x", b"one"), (1, 1_001, 0, b"y", None)]
    assert type(as_read[0]) is not type(copied[0])


def test_what_was_fetched_before_and_errors_stay_what_they_are():
    before, error = fetched(), FetchError(error=RuntimeError(), backoff=0.1)
    kept = RecordsAsRead({TP: before})
    kept[TopicPartition("decisions", 4)] = error
    assert list(kept.values()) == [before, error]
