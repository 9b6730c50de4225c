from __future__ import annotations

import gc
import weakref
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.consumer.fetcher import READ_UNCOMMITTED, FetchError, FetchResult, PartitionRecords
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import TopicPartition

from pipeline.stream.log.fetch import RecordsAsRead

TP = TopicPartition("decisions", 3)


def batch(first: int, *, count: int = 2) -> bytes:
    """Return a record batch as a broker keeps it, a tombstone among its records."""
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, 0, 1 << 16)
    for i in range(count):
        builder.append(i, timestamp=1_000 + i, key=b"k%d" % i, value=None if i == 1 else b"v", headers=[("h", b"v")])
    raw = builder.build()
    raw[:8] = first.to_bytes(8, "big")  # the broker's part: not under the checksum
    return bytes(raw)


class Position:
    """Of a partition, as aiokafka keeps it."""

    paused = False

    def __init__(self, position: int) -> None:
        self.position = position

    def consumed_to(self, position: int) -> None:
        self.position = position


def fetched(raw: bytes, start: int) -> tuple[FetchResult, Position]:
    """Return what the answer to a fetch from `start` on becomes in aiokafka."""
    records = PartitionRecords(
        TP,
        MemoryRecords(raw),
        aborted_transactions=[],
        fetch_offset=start,
        key_deserializer=None,
        value_deserializer=None,
        check_crcs=True,
        isolation_level=READ_UNCOMMITTED,
    )
    state = Position(start)
    assignment: Any = SimpleNamespace(active=True, state_value=lambda _: state)
    return FetchResult(TP, assignment=assignment, partition_records=records, backoff=0.1), state


def fields(records: Any) -> list[tuple[Any, ...]]:
    return [(r.offset, r.timestamp, r.timestamp_type, r.key, r.value) for r in records]


@pytest.mark.parametrize("start", [10, 11])
def test_records_as_read_say_what_aiokafka_s_copies_say(start: int) -> None:
    raw = batch(10) + batch(12, count=3) + batch(20, count=1)
    theirs, their_state = fetched(raw, start)
    ours, our_state = fetched(raw, start)
    kept = RecordsAsRead()
    kept[TP] = ours
    copied, as_read = theirs.getall(), kept[TP].getall(None)
    assert fields(as_read) == fields(copied)
    assert [record.offset for record in as_read] == [*range(start, 15), 20]
    assert (our_state.position, kept[TP].has_more()) == (their_state.position, theirs.has_more()) == (21, False)
    assert type(as_read[0]) is not type(copied[0])


def test_what_was_fetched_is_let_go_when_it_is_handed_out_without_the_collector_s_help() -> None:
    kept = RecordsAsRead()
    kept[TP], _ = fetched(batch(10), 10)
    held = [weakref.ref(kept[TP]), weakref.ref(kept[TP]._partition_records)]
    gc.disable()
    try:
        assert kept[TP].getall(None)
        del kept[TP]
        assert [one() for one in held] == [None, None]
    finally:
        gc.enable()


def test_a_damaged_batch_is_an_error_and_the_position_stays() -> None:
    raw = bytearray(batch(10) + batch(12))
    raw[-1] ^= 1
    kept = RecordsAsRead()
    kept[TP], state = fetched(bytes(raw), 10)
    with pytest.raises(CorruptRecordException, match="decisions"):
        kept[TP].getall(None)
    assert state.position == 10


def test_what_was_fetched_of_a_partition_that_was_sought_meanwhile_is_not_handed_out() -> None:
    kept = RecordsAsRead()
    kept[TP], state = fetched(batch(10), 10)
    state.position = 5
    assert (kept[TP].getall(None), state.position) == ([], 5)


def test_what_was_fetched_before_and_errors_stay_what_they_are() -> None:
    (before, _), error = fetched(batch(10), 10), FetchError(error=RuntimeError(), backoff=0.1)
    kept = RecordsAsRead({TP: before})
    kept[TopicPartition("decisions", 4)] = error
    assert list(kept.values()) == [before, error]
