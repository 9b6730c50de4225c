"""A partition's log: what of it is committed, and which offsets that covers.

    offset   0   1   2   3   4   5   6   7   8   9
             r   r   C   ·   ·   x   x   A   r │ r          r record, C commit marker, A abort marker, x aborted,
             └───────────────────────────────┘ │            · removed by compaction
             a batch covers 0 to 8, of them      stable end: 9 belongs to a transaction that is open
             three records

A log is offsets; records are some of what lies in it. So a batch says where it begins and where reading goes on,
whatever stands there, and a log's end is the last stable offset: below it every transaction is decided. A batch may
hold no record at all. What was aborted never happened.

The broker gives whole record batches, by header alone it is known which of them count, and only those are read. That is
done for what is asked of a broker (`reader.py`) and for what a table restores (`state/changelog.py`).
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, NamedTuple

from aiokafka.record.control_record import ABORT_MARKER, ControlRecord

from pipeline.stream import record_batches
from pipeline.stream.record_batches import RecordBatches


@dataclass(slots=True)
class Batch:
    """Consecutive offsets of one partition, and the committed records among them."""

    topic: str
    partition: int
    first_offset: int
    """The first that is covered."""
    records: Sequence[Any]
    """Each with an offset, a timestamp, a key and a value, by rising offset; there may be none."""
    resume_offset: int
    """Behind the last that is covered; a stage that must see records again after a crash lowers it."""
    gone: int = 0
    """How many offsets right before `resume_offset` the topic held no more when they were to be read."""
    fetched_at_ms: int = 0
    """When the last fetch of it was answered, by a clock of this process that never goes back."""


class Content(NamedTuple):
    """What one fetch brought of a partition."""

    batches: Sequence[Any]
    """Committed record batches (`stream/record_batches.py`); the first may begin before what was asked for: brokers
    give whole ones."""
    resume_offset: int
    """Where reading goes on: behind the last batch, committed or not."""


def content_of(raw: bytes, start: int, aborted: Iterable[tuple[int, int]]) -> Content:
    """Read the answer to a fetch from `start` on.

    Args:
        raw: record batches as they lie on the broker's disk; the last may be cut off.
        start: the offset that was asked for.
        aborted: transactions among them that were, as producer id and first offset.
    """
    to_come = deque(sorted(aborted, key=lambda transaction: transaction[1]))
    gone: set[int] = set()
    found, kept, resume_offset = RecordBatches(raw), [], start
    while (batch := found.next_batch()) is not None:
        resume_offset = max(resume_offset, batch.next_offset)
        while to_come and to_come[0][1] <= batch.base_offset:
            gone.add(to_come.popleft()[0])
        if batch.is_control_batch:
            if ControlRecord.parse(next(batch).key) == ABORT_MARKER:
                gone.discard(batch.producer_id)
        elif not (batch.is_transactional and batch.producer_id in gone):
            kept.append(batch)
    return Content(kept, resume_offset)


def unpack(waiting: deque[Any], start: int) -> list[Any]:
    """Take record batches and return their records at `start` and behind it, as the compiled reader makes them.

    A few kilobytes may unpack to gigabytes: what comes to `ANSWER_BYTES` ends it, and the rest goes on waiting.
    """
    records: list[Any] = []
    unpacked_bytes = 0
    while waiting and unpacked_bytes < record_batches.ANSWER_BYTES:
        batch = waiting.popleft()
        records.extend(batch.records())
        unpacked_bytes += batch.unpacked_bytes
    return records[bisect_left(records, start, key=attrgetter("offset")) :]
