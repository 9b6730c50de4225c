"""The agent around JOIN: load, step, make durable (`stream/state/durable.py`), for each step.

A step that a crash repeats changes nothing: ledger records are absolute.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from time import time_ns
from typing import Protocol

from pipeline.codec import avro
from pipeline.codec.framed import UnresolvedSchemaError
from pipeline.codec.reward import RewardWriter
from pipeline.events import Decision, Erasure, Outcome
from pipeline.join.dead_letter import dead_letter
from pipeline.join.forwarding import Place
from pipeline.join.progress import DECISIONS, NOT_YET_MS, OUTCOMES, Progress, progress_from_bytes
from pipeline.join.row import ActionRow
from pipeline.join.step import STEP_BYTES, ActionRows, Arrival, Changes, Limits, advance, decode_arrivals, take
from pipeline.join.stored_row import row_to_bytes
from pipeline.join.stored_rows import StoredRows
from pipeline.stream.log import topics
from pipeline.stream.log.fetch import Batch
from pipeline.stream.log.outbox import Outbox, Outgoing, Record
from pipeline.stream.log.sources import Resumption
from pipeline.stream.policies import Policies
from pipeline.stream.state.durable import DurablePartition
from pipeline.stream.state.partitions import Opens, Partitions
from pipeline.stream.state.tables import PROGRESS, ROW, due_key

log = logging.getLogger(__name__)

STEP_ROWS = 4_000
"""Records, or due rows, looked at in one step; `join/step.py` bounds its bytes."""

TOGETHER_BYTES = STEP_BYTES // 4
"""Of records and the stored rows that they are of: below it, batches of both streams are one step. What either adds to
it is bounded at STEP_BYTES, so that both fit one record batch of the changelog."""

TICK_WITHIN_S = 10.0
"""A tick that nobody has taken by then says an old time: the next one says a newer one."""
STREAMS = (DECISIONS, OUTCOMES)
CREATE_TIME = 0
"""Kafka's number for a timestamp that is its producer's."""


class Schemas(Protocol):
    """What is known of schema ids, and learned when it is asked for."""

    async def look_up(self, schema_ids: Iterable[int], /) -> None:
        """Make ids known, however long that takes."""


CaughtUp = Callable[[str, int, int, int], bool]
"""(topic, partition, position, since_ms) → whether the position is the end, by a fetch of since_ms or later."""


class RowsInHand:
    """The rows that some records are of, loaded once; and what became of them in the step so far."""

    def __init__(self, actions: ActionRows, arrivals: Sequence[Arrival]) -> None:
        events = [arrival.event for arrival in arrivals]
        self._rows = actions.load([e.action_id for e in events if isinstance(e, Decision | Outcome | Erasure)])
        self.stored_bytes = sum(row.stored_bytes for row in self._rows.values())

    def put(self, rows: Mapping[str, ActionRow | None]) -> None:
        """Go on from changed rows."""
        for action_id, row in rows.items():
            if row is None:
                self._rows.pop(action_id, None)
            else:
                self._rows[action_id] = row

    def load(self, action_ids: Sequence[str]) -> dict[str, ActionRow]:
        """Return those that exist."""
        return {action_id: self._rows[action_id] for action_id in action_ids if action_id in self._rows}

    def due(self, until_ms: int, limit: int) -> list[tuple[int, str]]:
        """Return none: no time passes in the step."""
        del until_ms, limit
        return []


class JoinPartition:
    """What is in memory of one partition."""

    def __init__(self, held: DurablePartition, orphan_hold_ms: int) -> None:
        stored = held.rows.get(PROGRESS)
        self.held = held
        self.rows = held.rows
        self.is_new = stored is None
        self.progress = Progress() if stored is None else progress_from_bytes(stored)
        self.actions = StoredRows(held.rows, ROW)
        self.place: Place | None = None
        """Among how many partitions this is one."""
        self.has_told_of_forwards = False
        self.waits_for_registry = False
        """Whether records are in hand whose schema a registry has not told yet."""
        self._orphan_hold_ms = orphan_hold_ms
        self.fetched_at_ms = 0
        """When the last batch of either stream was fetched: an end known from before may be none any more."""
        self.fall_quiet()

    def positions(self) -> Mapping[str, int]:
        """Return the next offset to read of each stream."""
        return self.progress.positions

    def resume(self, found: Mapping[str, Resumption]) -> dict[bytes, bytes | None]:
        """Go on where each stream goes on; what is gone is accounted for."""
        for stream, (position, gone) in found.items():
            self.progress.skip(stream, position, gone)
        return {PROGRESS: self.progress.to_bytes()}

    def fall_quiet(self) -> None:
        """Start the clock of idleness: something new was learned of a decision just now."""
        self._quiet_since_s = time.monotonic()
        # Fixed here, since the ticks that an idle partition gets move the watermarks themselves.
        self._quiet_from_ms = max(*self.progress.watermarks_ms.values(), *self.progress.heard_ms.values())

    @property
    def quiet_s(self) -> float:
        """How long nothing new was learned of any decision, whatever else was read."""
        return time.monotonic() - self._quiet_since_s

    def idle_event_time_ms(self) -> int:
        """Return the event time that an idle partition has come to: it goes on at the pace of the wall clock."""
        if self._quiet_from_ms == NOT_YET_MS:
            # Only outcomes of nobody are held, each for as long as it would be behind a decision of its own time.
            first = self.rows.due(2**62, 1)
            self._quiet_from_ms = first[0][0] - self._orphan_hold_ms if first else NOT_YET_MS
        return self._quiet_from_ms + round(self.quiet_s * 1000)


class JoinAgent:
    """JOIN for all partitions of this worker."""

    name = "join"

    def __init__(
        self,
        opener: Opens,
        outbox: Outbox,
        policies: Policies,
        caught_up: CaughtUp,
        limits: Limits,
        schemas: Schemas | None = None,
    ) -> None:
        self._outbox = outbox
        self._policies = policies
        self._caught_up = caught_up
        self._limits = limits
        self._schemas = schemas
        self.partitions = Partitions(
            opener.open, partial(JoinPartition, orphan_hold_ms=limits.orphan_hold_ms), _refuse_lost
        )

    async def open(self, number: int) -> JoinPartition:
        """Return a partition's memory, claimed and restored on first use after an assignment."""
        return await self.partitions.open(number)

    def position(self, topic: str, partition: int) -> int:
        """Return the first offset that is not in the open partition's state."""
        return self.partitions.known(partition).progress.positions[topic]

    async def handle(self, *batches: Batch) -> None:
        """Join batches of decisions and outcomes of one partition number."""
        partition = await self.open(batches[0].partition)
        partition.fetched_at_ms = max(partition.fetched_at_ms, *(batch.fetched_at_ms for batch in batches))
        arrivals: dict[str, Sequence[Arrival]] = {}
        for batch in batches:
            partition.held.sources.take(batch)
            arrivals[batch.topic] = await self._decode(partition, batch)
        if partition.place is None:
            count = await self._outbox.partition_count(topics.DECISIONS)
            partition.place = Place(batches[0].partition, count)
        await self._learn_of_policies(list(chain.from_iterable(arrivals.values())))
        await self._keep_promise(partition)  # a crash may have come before it
        if all(stream in arrivals and _has_fresh(partition, stream, arrivals[stream]) for stream in STREAMS):
            await self._take_together(partition, arrivals)
        for stream, some in arrivals.items():
            for step in steps(some):
                await self._take(partition, stream, step)
        for batch in batches:
            # Behind its last record there may be offsets without one.
            position = partition.progress.positions[batch.topic]
            partition.progress.skip(batch.topic, max(position, batch.resume_offset), batch.gone)
        await self._let_time_pass(partition)

    async def _decode(self, partition: JoinPartition, batch: Batch) -> Sequence[Arrival]:
        """Decode a batch; where the schema of a frame is not known yet, once it is: its partition waits for it."""
        records = [(r.offset, r.timestamp, r.key, r.value) for r in batch.records]
        unstamped = {r.offset for r in batch.records if r.timestamp_type == CREATE_TIME}
        arrivals = decode_arrivals(batch.topic, records, self._limits.registry, unstamped)
        if self._schemas is None:
            return arrivals
        events = (arrival.event for arrival in arrivals)
        unresolved = {event.schema_id for event in events if isinstance(event, UnresolvedSchemaError)}
        if not unresolved:
            return arrivals
        partition.waits_for_registry = True
        try:
            await self._schemas.look_up(unresolved)
        finally:
            partition.waits_for_registry = False
        return decode_arrivals(batch.topic, records, self._limits.registry, unstamped)

    async def _take(self, partition: JoinPartition, stream: str, step: Sequence[Arrival]) -> None:
        while _has_fresh(partition, stream, step):
            book, place = self._policies.book, partition.place
            changes = take(stream, step, partition.progress, partition.actions, book, self._limits, place)
            if changes.is_heard:
                partition.fall_quiet()
            partition.progress.promise(self._streams_at_end(partition))
            await self._make_durable(partition, changes)

    async def _take_together(self, partition: JoinPartition, arrivals: Mapping[str, Sequence[Arrival]]) -> None:
        """Take small batches of both streams in one step: it costs more than its few records do.

        What is not taken then, or not small, is left.
        """
        both = list(chain.from_iterable(arrivals.values()))
        if len(both) > STEP_ROWS:
            return
        rows = RowsInHand(partition.actions, both)
        if rows.stored_bytes + sum(len(arrival.raw) for arrival in both) > TOGETHER_BYTES:
            return
        together = Changes()
        for stream in STREAMS:
            book, place = self._policies.book, partition.place
            changes = take(stream, arrivals[stream], partition.progress, rows, book, self._limits, place)
            rows.put(changes.rows)
            together.rows |= changes.rows
            together.rewards += changes.rewards
            together.refusals += changes.refusals
            together.forwards += changes.forwards
            together.gone_due += changes.gone_due
            together.is_heard |= changes.is_heard
            together.before_decision += changes.before_decision
        if together.is_heard:
            partition.fall_quiet()
        partition.progress.promise(self._streams_at_end(partition))
        await self._make_durable(partition, together)

    async def _learn_of_policies(self, arrivals: Sequence[Arrival]) -> None:
        """Read the policies again if a record names a policy, generation or arm that may be a moment old."""
        decisions = (arrival.event for arrival in arrivals if isinstance(arrival.event, Decision))
        for policy, generation, arm in {(one.policy, one.generation, one.arm) for one in decisions}:
            definition = self._policies.book.find(policy, generation)
            if definition is None or arm not in definition.arm_set:
                await self._policies.refresh()
                return

    async def _let_time_pass(self, partition: JoinPartition) -> None:
        """Let event time come to where the watermarks allow it, if a row waits for that.

        The steps that took the records have mostly promised as much. If more of the ends is known by now, the promise
        is made durable first: no ledger record tells of a time that a crash could take back.
        """
        progress, at_end = partition.progress, self._streams_at_end(partition)
        target_ms = progress.next_event_time_ms(at_end)
        if target_ms > progress.promised_ms and partition.rows.due(target_ms, 1):
            progress.promise(at_end)
            await self._make_durable(partition, Changes())
        await self._keep_promise(partition)

    async def _keep_promise(self, partition: JoinPartition) -> None:
        progress, book = partition.progress, self._policies.book
        while (changes := advance(progress, frozenset(), partition.actions, book, STEP_ROWS)) is not None:
            # Time alone needs no writing: it is promised.
            if changes.rows or changes.gone_due:
                await self._make_durable(partition, changes)

    def _streams_at_end(self, partition: JoinPartition) -> frozenset[str]:
        number = partition.rows.partition
        positions = partition.progress.positions
        since_ms = partition.fetched_at_ms
        return frozenset(s for s in STREAMS if self._caught_up(s, number, positions[s], since_ms))

    async def _make_durable(self, partition: JoinPartition, changes: Changes) -> None:
        number = partition.rows.partition
        rows: dict[bytes, bytes | None] = {}
        index: list[tuple[bytes, bool]] = []
        for due_ms, action_id in changes.gone_due:
            index.append((due_key(due_ms, action_id.encode()), False))
        for action_id, row in changes.rows.items():
            row_id = action_id.encode()
            if row is None:
                rows[ROW + row_id] = None
                continue
            rows[ROW + row_id] = row_to_bytes(row)
            # A stored row with another due time has an entry of that; one with this has this entry.
            if row.stored_due_ms != row.due_ms:
                if row.stored_due_ms is not None:
                    index.append((due_key(row.stored_due_ms, row_id), False))
                index.append((due_key(row.due_ms, row_id), True))
        rows[PROGRESS] = partition.progress.to_bytes()
        for stream in STREAMS:
            partition.held.sources.reached(stream, partition.progress.positions[stream])
        if changes.before_decision:
            log.warning(
                "outcomes-before-decision partition=%s outcomes=%s: they say an earlier time than their decision and "
                "are not credited; compare the clocks of who shows and who tells. Counted as fate=before-decision",
                number,
                changes.before_decision,
            )
        if changes.forwards and not partition.has_told_of_forwards:
            partition.has_told_of_forwards = True
            log.warning(
                "records-forwarded partition=%s stream=%s records=%s: they are keyed by another partitioner than "
                "murmur2, or not by action_id, and each is written once more; tell their producers (librdkafka: "
                "partitioner=murmur2_random). Counted as fate=forwarded, said once a partition",
                number,
                changes.forwards[0].stream,
                len(changes.forwards),
            )
        await partition.held.make_durable(outputs(changes, number), rows, index)

    async def tick(self, number: int, idle_after_s: float) -> None:
        """Let event time go on, by records in the log, once a row falls due by it.

        In a partition that is idle, at the pace of the wall clock. And where nobody but producers say what time it is,
        as far as this worker's clock does.
        """
        partition = await self.open(number)
        progress, clock_ms = partition.progress, time_ns() // 1_000_000
        ticks = {}
        held_back = progress.held_back()
        if held_back and partition.rows.due(min(max(progress.heard_ms.values()), clock_ms), 1):
            ticks = {stream: max(0, progress.watermarks_ms[stream]) for stream in held_back}
        elif (
            partition.quiet_s >= idle_after_s
            and self._streams_at_end(partition) == frozenset(STREAMS)
            and partition.rows.due(partition.idle_event_time_ms(), 1)
        ):
            ticks = {DECISIONS: partition.idle_event_time_ms()}
        records = [
            Record(stream, number, b"", avro.encode("tick", {"event_time_ms": at_ms, "clock_ms": clock_ms}))
            for stream, at_ms in ticks.items()
        ]
        try:
            async with asyncio.timeout(TICK_WITHIN_S):
                await self._outbox.deliver(records)
        except TimeoutError:
            log.warning("tick-not-taken partition=%s within_s=%g: the next one says more", number, TICK_WITHIN_S)


async def _refuse_lost(partition: JoinPartition) -> None:
    """Refuse to join everything again into a ledger that has it already: what was let go of would count twice."""
    if partition.is_new:
        await partition.held.sources.refuse_lost(partition.rows.changelog, topics.REWARDS)


def _has_fresh(partition: JoinPartition, stream: str, arrivals: Sequence[Arrival]) -> bool:
    return bool(arrivals) and partition.progress.positions[stream] <= arrivals[-1].offset


def steps(arrivals: Sequence[Arrival]) -> Iterator[Sequence[Arrival]]:
    """Cut a fetched batch into steps of bounded size."""
    start, size = 0, 0
    for index, arrival in enumerate(arrivals):
        size += len(arrival.raw)
        if size > STEP_BYTES or index - start >= STEP_ROWS:
            yield arrivals[start : index + 1]
            start, size = index + 1, 0
    if start < len(arrivals):
        yield arrivals[start:]


def outputs(changes: Changes, partition: int) -> Outgoing:
    """Return what a step sends: ledger records, what is sent on, then dead letters."""
    writer = RewardWriter()
    write = writer.write
    outgoing: dict[tuple[str, int], list[tuple[bytes, bytes | None]]] = {}
    if changes.rewards:
        outgoing[topics.REWARDS, partition] = [(one.action_id.encode(), write(one)) for one in changes.rewards]
    for forward in changes.forwards:
        outgoing.setdefault((forward.stream, forward.home), []).append((forward.key, forward.value))
    if changes.refusals:
        reasons = Counter(refusal.error.reason for refusal in changes.refusals)
        first = changes.refusals[0]
        # Without its fault in words, which quotes what was sent: nobody is forgotten in a log.
        log.warning(
            "records-refused partition=%s reasons=%s first=%s/%s/%s see: pipeline dead-letters show",
            partition,
            dict(reasons),
            first.stream,
            partition if first.partition is None else first.partition,
            first.offset,
        )
        outgoing[topics.DEAD_LETTERS, partition] = [dead_letter(refusal, partition) for refusal in changes.refusals]
    return outgoing
