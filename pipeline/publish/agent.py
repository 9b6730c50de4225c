"""The agent around PUBLISH: keep every partition's latest statistics, and publish each policy at its interval.

A policy is published by the one worker that owns its partition of `statistics`. A snapshot is written to the
changelog, whole, before it is sent: after a crash the same bytes are sent again, so a version is never used
for two contents. Where it has parts, `sending.py` tells of their order; where all of it lies, `partition.py`.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any

import numpy as np
import orjson

from pipeline.codec import avro
from pipeline.errors import DecodeError
from pipeline.learn.memory import RowKey
from pipeline.models.sums.statistics import Statistics
from pipeline.monitor.monitors import look
from pipeline.monitor.reading import Reading
from pipeline.monitor.totals import Totals, totals_of
from pipeline.monitor.watch import Watch
from pipeline.policy.definition import PolicyDefinition
from pipeline.policy.directive import ROLLBACK, Directive
from pipeline.publish.aged_rows import AgedRows
from pipeline.publish.hold import Hold, republish
from pipeline.publish.partials import CHANGE_BYTES, Cut, Mark, PartialKey, base_from
from pipeline.publish.partition import BASE, HOLD, MARK, VERSION, PublishPartition, partial_name, published_from
from pipeline.publish.parts import SnapshotContent, divide
from pipeline.publish.sending import Write
from pipeline.publish.signing import Signer
from pipeline.publish.snapshot import event_time_of, snapshot_fields
from pipeline.publish.versions import FindPublished, none_published
from pipeline.publish.watched import watched_rows
from pipeline.stream.event_loop import Steps
from pipeline.stream.failpoints import Reach, pass_by
from pipeline.stream.log import topics
from pipeline.stream.log.fetch import Batch
from pipeline.stream.log.outbox import Outbox
from pipeline.stream.policies import Policies
from pipeline.stream.state.partitions import Opens, Partitions
from pipeline.stream.state.tables import PROGRESS

log = logging.getLogger(__name__)

WRITE_BYTES = 2 << 20
"""Rows are gathered up to this size into one record batch of the changelog."""
GONE_ROWS = 10_000
"""Keys of at most 300 bytes."""
LEAST_WAIT_S = 0.002
"""Between two looks at what is due, also where it can't be published now: in a rebalance."""

OnPublished = Callable[[str, float], None]
"""Is told of each snapshot of what was learned: the policy, and how many seconds it took."""


class PublishAgent:
    """PUBLISH for all partitions of this worker."""

    name = "publish"

    def __init__(
        self,
        opener: Opens,
        outbox: Outbox,
        policies: Policies,
        reach: Reach = pass_by,
        signer: Signer | None = None,
        find_published: FindPublished = none_published,
        on_published: OnPublished = lambda _policy, _seconds: None,
    ) -> None:
        self._on_published = on_published
        self._signer = signer
        self._find_published = find_published
        self._outbox = outbox
        self._policies = policies
        self._reach = reach
        self.partitions = Partitions(opener.open, PublishPartition, self._learn_versions)
        self.watch = Watch()
        """What is seen of the policies that are published here."""
        self._has_new = asyncio.Event()

    async def open(self, number: int) -> PublishPartition:
        """Return a partition's memory, claimed and restored on first use after an assignment."""
        return await self.partitions.open(number)

    def position(self, topic: str, partition: int) -> int:
        """Return the first offset that is not in the open partition's state, or waits for its mark."""
        del topic  # it reads but one
        return self.partitions.known(partition).position

    async def handle(self, *batches: Batch) -> None:
        """Take in batches of statistics."""
        for batch in batches:
            partition = await self.open(batch.partition)
            partition.held.sources.take(batch)
            await self._gather(partition, batch)

    async def _gather(self, partition: PublishPartition, batch: Batch) -> None:
        steps = Steps()
        size = 0
        for record in batch.records:
            if record.value is None:
                continue
            name, fields = _read(record)
            if name == "statistics":
                self._stage(partition, record.offset, fields)
            elif name == "statistics_mark":
                size += await self._mark(partition, fields, steps)
            elif name == "statistics_base":
                await self._write_taken_in(partition)
                await self._rebase(partition, record.value, fields)
                size = 0
            if size >= WRITE_BYTES:
                await self._write_taken_in(partition)
                size = 0
            await steps.rest()
        behind = batch.resume_offset
        partition.held.sources.reached(batch.topic, behind)
        batch.resume_offset = min([behind, *partition.staged_since.values()])
        if partition.unwritten:
            partition.unwritten[PROGRESS] = b"%d" % batch.resume_offset
            await self._write_taken_in(partition)
        partition.position = behind

    def _stage(self, partition: PublishPartition, offset: int, fields: dict[str, Any]) -> None:
        row = RowKey(*(fields[name] for name in RowKey._fields))
        source = fields["source_partition"]
        sums = np.frombuffer(fields["sums"], dtype="<i8")
        statistics = Statistics(fields["dimension"], sums)
        partition.of(row.policy, row.generation).stage(PartialKey(row, source), fields["ledger_offset"], statistics)
        partition.staged_since.setdefault((row.policy, row.generation, source), offset)

    async def _mark(self, partition: PublishPartition, fields: dict[str, Any], steps: Steps) -> int:
        """Take in what a mark completes; return how many bytes are to be written."""
        policy, generation, source = fields["policy"], fields["generation"], fields["source_partition"]
        mark = Mark(fields["ledger_offset"], fields["event_time_ms"])
        partials = partition.of(policy, generation)
        size = 0
        async with partition.taking_in:
            for group in partials.marking(source, mark):
                size += sum(row.sums.nbytes + CHANGE_BYTES for row in group.values())
                await steps.rest()
        if not partials.staged.get(source):
            partition.staged_since.pop((policy, generation, source), None)
        if not size:
            return 0
        partition.unwritten[MARK + orjson.dumps([policy, generation, source])] = orjson.dumps(list(mark))
        self._note_new(partition, policy)
        return size

    async def _rebase(self, partition: PublishPartition, content: bytes, fields: dict[str, Any]) -> None:
        """Put what a replay has made under its generation, in one step; then drop what it replaces."""
        policy, generation = fields["policy"], fields["generation"]
        partials, base = partition.of(policy, generation), base_from(fields)
        if partials.is_replaced(base):
            return
        if not partials.has_marks_of(base):
            log.error("base-refused policy=%s generation=%s first_source=%s", policy, generation, base.first_source)
            return
        partials.rest_on(base)
        self._note_new(partition, policy)
        await self._write(partition, {BASE + orjson.dumps([policy, generation]): content})
        # In a thread: it looks at every row there is.
        gone = await asyncio.to_thread(partials.replaced)
        for start in range(0, len(gone), GONE_ROWS):
            await self._write(partition, dict.fromkeys(map(partial_name, gone[start : start + GONE_ROWS])))

    async def _write_taken_in(self, partition: PublishPartition) -> None:
        await self._write(partition, partition.unwritten)
        partition.unwritten.clear()

    async def _write(self, partition: PublishPartition, rows: dict[bytes, bytes | None]) -> None:
        if not rows:
            return
        async with partition.writing:
            await partition.held.make_durable({}, rows)

    def _note_new(self, partition: PublishPartition, policy: str) -> None:
        if policy not in partition.dirty:
            partition.dirty.add(policy)
            self._has_new.set()

    async def _learn_versions(self, partition: PublishPartition) -> None:
        """Use no version again that a state which was lost has used (law 7)."""
        for policy, content in (await self._find_published(partition.held.number)).items():
            stored = partition.published.get(policy)
            if (learned := partition.learn(content)) is None:
                continue
            partition.complete_at = await partition.held.sources.end_of(topics.STATISTICS)
            log.warning(
                "version-learned policy=%s version=%s stored=%s reason='the changelog knows less than was published: "
                "it was lost or cut off; nothing is published before all of `statistics` is read again'",
                policy,
                learned.version,
                None if stored is None else stored.version,
            )

    async def until_due(self, at_most_s: float) -> None:
        """Wait until a policy with something new is due, or so long: definitions and directives wake nobody."""
        self._has_new.clear()
        due_s = min(self._due_s(), default=math.inf)
        wait_s = min(at_most_s, max(LEAST_WAIT_S, due_s - time.monotonic()))
        with suppress(TimeoutError):
            await asyncio.wait_for(self._has_new.wait(), wait_s)

    def _due_s(self) -> Iterator[float]:
        """Yield when each policy with something new is due."""
        for partition in self.partitions:
            for name in partition.dirty:
                definition = self._policies.book.latest(name)
                if definition is not None and not partition.is_held(name):
                    yield partition.published_at_s.get(name, -math.inf) + definition.publish_interval_ms / 1000

    async def publish_due(self, number: int) -> None:
        """Publish every policy of an owned partition that has changed and whose interval has passed."""
        partition = await self.open(number)
        if partition.position < partition.complete_at:
            return
        await self._resend(partition)
        count = await self._outbox.partition_count(topics.STATISTICS)
        for definition in self._policies.book:
            if topics.partition_for(definition.name, count) == number:
                await self._publish_if_due(partition, definition)

    async def _resend(self, partition: PublishPartition) -> None:
        """Send the last snapshots again after a crash, and parts only where they may not have been sent."""
        for record in partition.unsent:
            last = published_from(record)
            policy: str = avro.decode_as("snapshot", record)["policy"]
            is_sent = partition.sending.is_sent(policy, last.id)
            await self._send(partition, policy, SnapshotContent(record), frozenset() if is_sent else last.parts)
        partition.unsent.clear()
        for policy in partition.sending.policies - partition.published.keys():
            # Killed before the first snapshot that names them.
            await partition.sending.drop(policy, frozenset(), await self._places(policy), self._writer(partition))

    async def _publish_if_due(self, partition: PublishPartition, definition: PolicyDefinition) -> None:
        name = definition.name
        hold = partition.holds.get(name, Hold())
        directive = self._policies.book.directive(name)
        if directive is not None and hold.is_before(directive):
            await self._obey(partition, definition, directive)
            return
        if partition.is_held(name):
            return
        last = partition.published.get(name)
        is_new = last is None or last.definition_hash != definition.definition_hash
        waited_ms = (time.monotonic() - partition.published_at_s.get(name, -1e9)) * 1000
        if (is_new or name in partition.dirty) and waited_ms >= definition.publish_interval_ms:
            await self._publish_live(partition, definition, {})

    async def _obey(self, partition: PublishPartition, definition: PolicyDefinition, directive: Directive) -> None:
        """Act on a directive; that it was acted on is written together with what came of it."""
        name = definition.name
        hold = Hold(directive.number, directive.action)
        rows: dict[bytes, bytes | None] = {HOLD + name.encode(): hold.to_bytes()}
        if directive.action == ROLLBACK:
            record = republish(directive.content, *partition.next_of(name))
            await self._publish(partition, name, SnapshotContent(record, self._policies.book.parts(name)), rows)
        elif hold.is_held and name in partition.published:
            await self._write(partition, rows)
        else:
            await self._publish_live(partition, definition, rows)
        partition.holds[name] = hold
        log.info("directive-obeyed policy=%s action=%s number=%s", name, directive.action, directive.number)

    async def _publish_live(
        self, partition: PublishPartition, definition: PolicyDefinition, rows: dict[bytes, bytes | None]
    ) -> None:
        name = definition.name
        partition.dirty.discard(name)
        began_s = partition.published_at_s[name] = time.monotonic()
        partials = partition.of(name, definition.generation)
        version, parent = partition.next_of(name)
        known = partition.derivations[name]

        def build(cut: Cut) -> tuple[AgedRows, SnapshotContent, Totals]:
            aged = cut.aged_rows()
            fields = snapshot_fields(definition, aged, cut.marks, version, parent, cut.base, known)
            return aged, divide(fields), totals_of(fields["segments"], 2.0**-definition.reward_exponent)

        # In a thread: a large one takes seconds, in which the broker must go on hearing from this worker.
        while True:
            async with partition.taking_in:
                cut = partials.cut()
            aged, content, totals = await asyncio.to_thread(build, cut)
            if partials.keep(cut, aged):
                break
        self._see(definition, totals)
        if self._waits(partition, definition, event_time_of(cut.marks, cut.base)):
            # What is learned is kept.
            partition.dirty.add(name)
            await self._write(partition, rows)
        else:
            await self._publish(partition, name, content, rows)
            self._on_published(name, time.monotonic() - began_s)
        if self.watch.is_due(began_s, definition):
            await self._look(definition, aged, max((mark.event_time_ms for mark in cut.marks.values()), default=0))

    def _waits(self, partition: PublishPartition, definition: PolicyDefinition, event_time_ms: int) -> bool:
        """Return whether what is learned waits: for outcomes that are as they were, or for the end of an epoch.

        Monitors look all the same, so it is asked when all else is done.
        """
        last = partition.published.get(definition.name)
        if last is None:
            return False
        return self.watch.is_held(definition.name) or last.is_within_epoch(definition, event_time_ms)

    async def _look(self, definition: PolicyDefinition, aged: AgedRows, event_time_ms: int) -> None:
        """Let all monitors look, in a thread: behind what is published, which waits for none of them."""

        def work() -> dict[str, Reading]:
            return look(definition, watched_rows(definition, aged.rows()), aged.newest, event_time_ms)

        try:
            readings = await asyncio.to_thread(work)
        except (ArithmeticError, LookupError, ValueError):
            log.exception("monitors-failed policy=%s", definition.name)
            readings = {}
        for name in self.watch.note(time.monotonic(), definition.name, readings):
            is_red = name in readings and readings[name].is_red
            log.log(
                logging.WARNING if is_red else logging.INFO,
                "monitor policy=%s monitor=%s red=%s figures=%s advice=%r",
                definition.name,
                name,
                is_red,
                {f"{one.name} {one.of}".strip(): one.value for one in (readings[name].figures if is_red else ())},
                "see ops/runbooks/monitors.md",
            )

    def _see(self, definition: PolicyDefinition, totals: Totals) -> None:
        """Look at what is learned; say it once where outcomes stop, jump, or are as they were."""
        change = self.watch.see(time.monotonic(), definition, totals)
        if change is not None:
            log.log(
                logging.INFO if change.look.state == "ok" else logging.WARNING,
                "label-rate policy=%s state=%s before=%s came=%g least=%g most=%g look_s=%.0f publishing=%s advice=%r",
                definition.name,
                change.look.state,
                change.before,
                change.look.came,
                change.look.least,
                change.look.most,
                change.look.seconds,
                "held" if change.is_held else "goes on",
                "see ops/runbooks/label-rate.md",
            )

    async def _publish(
        self, partition: PublishPartition, name: str, content: SnapshotContent, rows: dict[bytes, bytes | None]
    ) -> None:
        self._reach("publish.snapshot-built")
        published = published_from(content.record)
        store = partition.sending.store
        fresh = await store(name, published.parts, content.parts, self._writer(partition), self._reach)
        await self._write(partition, {**rows, VERSION + name.encode(): content.record})
        partition.published[name] = published
        await self._send(partition, name, content, fresh)
        self._reach("publish.snapshot-sent")
        log.info(
            "snapshot-published policy=%s version=%s id=%s parts=%s new_parts=%s",
            name,
            published.version,
            published.id[:12],
            len(published.parts),
            len(fresh),
        )

    async def _send(
        self, partition: PublishPartition, policy: str, content: SnapshotContent, fresh: frozenset[str]
    ) -> None:
        names, to = partition.published[policy].parts, await self._places(policy)
        headers = () if self._signer is None else self._signer.headers(content.record)
        await partition.sending.send(policy, content, names, fresh, to, self._writer(partition), self._reach, headers)

    async def _places(self, policy: str) -> dict[str, int]:
        """Return the policy's partition of each topic that its snapshots are sent to."""
        return {
            topic: topics.partition_for(policy, await self._outbox.partition_count(topic))
            for topic in (topics.SNAPSHOT_HISTORY, topics.SNAPSHOTS)
        }

    def _writer(self, partition: PublishPartition) -> Write:
        return partial(self._write, partition)


def _read(record: Any) -> tuple[str, dict[str, Any]]:
    """Read a record of `statistics`. Raises DecodeError with the place where none stands."""
    try:
        return avro.decode(record.value)
    except DecodeError as error:
        place = f"at offset {record.offset} of {topics.STATISTICS}"
        raise DecodeError(error.reason, f"{place}: {error.detail}") from error
