"""Read the ledger once, every partition up to the last offset that is asked for, and fold it on the way."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from pipeline.errors import StateError, UnavailableError
from pipeline.independent.checkpoint import name_of
from pipeline.independent.fold import Partition, Sums, merged
from pipeline.independent.proof import Folded, Snapshot
from pipeline.independent.records import read_record

LEDGER = "rewards"
SILENCE_S = 30.0
POLL_MS = 500
MOST_TOLD = 5
OnProgress = Callable[[int, int], None]


Begun = Mapping[int, tuple[int, str, Partition]]
"""By partition: the offset that is gone on from, the name of what it has come to by then, and that itself."""
Names = Mapping[int, Sequence[tuple[int, str]]]
"""By partition: offsets, and what it is said to have come to at each."""


async def fold_for(
    options: Mapping[str, Any],
    snapshots: Sequence[Snapshot],
    on_progress: OnProgress = lambda _done, _total: None,
    begun: Begun | None = None,
    names: Names | None = None,
) -> tuple[list[Folded], str, set[tuple[int, int, int]]]:
    """Return each snapshot's prefix of the ledger, from one pass over it.

    And where in it no ledger record stands; and of the names those that are true, as partition, offset and event time.

    Args:
        options: how to speak to the brokers, as aiokafka takes it.
        snapshots: decoded.
        on_progress: told how many of how many offsets are read.
        begun: what partitions go on from; the others begin at offset 0.
        names: to be held against what is come to.

    Raises:
        StateError: the ledger has lost its beginning or end, or what is gone on from has another name.
        UnavailableError: no broker answers.
    """
    reading = _Reading(snapshots, begun or {}, names or {})
    consumer = AIOKafkaConsumer(
        **options, group_id=None, enable_auto_commit=False, isolation_level="read_committed", auto_offset_reset="none"
    )
    try:
        await consumer.start()
        try:
            await _read(consumer, reading, on_progress)
        finally:
            await consumer.stop()
    except KafkaError as error:
        raise UnavailableError(f"the ledger can't be read: {error!r}") from error
    return reading.folded(), reading.strange, reading.true_names


async def _read(consumer: AIOKafkaConsumer, reading: _Reading, on_progress: OnProgress) -> None:
    places = [TopicPartition(LEDGER, number) for number in reading.ends]
    if not places:
        return
    consumer.assign(places)
    begins, ends = await consumer.beginning_offsets(places), await consumer.end_offsets(places)
    for place in places:
        wanted, start = reading.ends[place.partition], reading.starts[place.partition]
        if begins[place] > start or ends[place] < wanted:
            raise StateError(
                f"{LEDGER}/{place.partition} holds offsets {begins[place]} to {ends[place]}, {start} to {wanted} are "
                "needed: what was deleted can't be folded. Give the topic unlimited retention, or begin at a "
                "checkpoint at or behind its first offset: see --trust, and ops/runbooks/checkpoints.md"
            )
        consumer.seek(place, start)
    total, given_s = sum(reading.ends.values()) - sum(reading.starts.values()), time.monotonic()
    done = 0
    while waiting := [place for place in places if not reading.is_done(place.partition)]:
        batches = await consumer.getmany(*waiting, timeout_ms=POLL_MS)
        for place, records in batches.items():
            for record in records:
                reading.take(place.partition, record.offset, record.value)
        for place in waiting:  # behind the last record there may be offsets without one
            reading.reach(place.partition, await consumer.position(place))
        reached = reading.reached
        if reached > done:
            done, given_s = reached, time.monotonic()
        elif time.monotonic() - given_s > SILENCE_S:
            raise UnavailableError(f"topic {LEDGER} gives nothing for {SILENCE_S:.0f} s")
        on_progress(done, total)


class _Reading:
    """What is asked of each partition, and what has come of it."""

    def __init__(self, snapshots: Sequence[Snapshot], begun: Begun, names: Names) -> None:
        self._policies = [(one["policy"], one["generation"]) for one in snapshots]
        self._parts: list[list[Sums]] = [[] for _ in snapshots]
        self._records = [0] * len(snapshots)
        self._times_ms = [0] * len(snapshots)
        self._waiting: dict[int, list[tuple[int, int]]] = {}
        for number, snapshot in enumerate(snapshots):
            for one in snapshot["ledger_offsets"]:
                if one["offset"] > 0:
                    self._waiting.setdefault(one["partition"], []).append((one["offset"], number))
        for waiting in self._waiting.values():
            waiting.sort(reverse=True)
        self.ends = {number: waiting[0][0] for number, waiting in self._waiting.items()}
        self._partitions = {
            number: begun[number][2] if number in begun else Partition(None if names.get(number) else self._policies)
            for number in self.ends
        }
        self.starts = {number: begun[number][0] if number in begun else 0 for number in self.ends}
        for number, (offset, name, partition) in begun.items():
            if name_of(partition) != name:
                raise StateError(f"the checkpoint of partition {number} at offset {offset} is not what its name says")
        self.true_names: set[tuple[int, int, int]] = set()
        self._names = {number: sorted(found, reverse=True) for number, found in names.items()}
        self._positions = dict(self.starts)
        self._strange_count, self._strange = 0, list[str]()

    @property
    def reached(self) -> int:
        """Return how many offsets are read of those that are asked for."""
        return sum(min(self._positions[number], end) - self.starts[number] for number, end in self.ends.items())

    def is_done(self, number: int) -> bool:
        """Whether nothing more is asked of a partition."""
        return not self._waiting[number]

    def take(self, number: int, offset: int, raw: bytes) -> None:
        """Fold the next record of a partition."""
        self.reach(number, offset)
        if self._waiting[number]:
            self._positions[number] = offset + 1
            try:
                record = read_record("reward", raw or b"")
            except StateError:  # LEARN passes over it too, by its offset
                self._strange_count += 1
                self._strange += [f"{number}/{offset}"] if len(self._strange) < MOST_TOLD else []
                return
            self._partitions[number].take(record)

    def reach(self, number: int, offset: int) -> None:
        """Give what ends below an offset its sums."""
        self._positions[number] = max(offset, self._positions[number])
        partition, waiting = self._partitions[number], self._waiting[number]
        names = self._names.get(number, [])
        while names and names[-1][0] <= self._positions[number]:
            at, name = names.pop()
            if name_of(partition) == name:
                self.true_names.add((number, at, partition.event_time_ms))
        while waiting and waiting[-1][0] <= self._positions[number]:
            _, asker = waiting.pop()
            sums = partition.sums.get(self._policies[asker], {})
            self._parts[asker].append({row: list(columns) for row, columns in sums.items()})
            self._records[asker] += partition.records
            self._times_ms[asker] = max(self._times_ms[asker], partition.event_time_ms)

    @property
    def strange(self) -> str:
        """Say in words where no ledger record stands: partition and offset of the first."""
        more = self._strange_count - len(self._strange)
        return ", ".join(self._strange) + (f" and {more:,} more" if more else "")

    def folded(self) -> list[Folded]:
        """Return what was asked for."""
        return [
            Folded(merged(parts), records, time_ms)
            for parts, records, time_ms in zip(self._parts, self._records, self._times_ms, strict=True)
        ]
