"""Load decisions and outcomes of months as a policy's history: into topics that no worker reads, in event-time order.

    1. what is there of the policy's history is read                  (event by event into a RocksDB, by time)
    2. the files' lines are put between it
    3. all of it is joined, by a replay's own functions: that is what it will come to; a dry run ends here
    4. the history is claimed, and 1 to 3 are done again: nobody else sends from here on
    5. what was not there is sent, in that order; no worker hears of it

A replay counts it from there, before what is live, into a generation that is then promoted. A repeat, or an interrupted
run's next, sends what is not there. What was decided before the end of the history that is there would be joined too
late, so it is refused.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple, TypeVar

from pipeline.audit.entry import Change
from pipeline.audit.record import Operator, changing
from pipeline.codec.murmur2 import partition_of
from pipeline.errors import ConfigError, FencedError
from pipeline.join.step import Limits
from pipeline.policy.definition import PolicyDefinition
from pipeline.replay.backfill.fates import told_of
from pipeline.replay.backfill.lines import Event, Kind, Refused, event_of, events_in
from pipeline.replay.recounting.event_recount import EventRecount
from pipeline.replay.recounting.loaded import entries_of
from pipeline.replay.recounting.plan import ReplayPlan
from pipeline.replay.recounting.run import OWNER_PREFIX
from pipeline.stream.log.outbox import Outbox, Record
from pipeline.stream.log.topics import (
    DECISIONS,
    HISTORY_DECISIONS,
    HISTORY_OUTCOMES,
    OUTCOMES,
    deployed_partitions,
    existing_topics,
)
from pipeline.stream.security import Address
from pipeline.stream.state.scratch import ScratchRows, scratch_rows

T = TypeVar("T")

FAR = 1 << 62
"""An end that is never come to."""
CHUNK = 2_000
"""Events that are written, joined or sent together."""
NEW, THERE = b"n", b"t"
EVENT = b"e"
TOPIC_OF: dict[Kind, str] = {"decision": HISTORY_DECISIONS, "outcome": HISTORY_OUTCOMES}

OnProgress = Callable[[str, int, int], None]
"""Told what is being done, and how much of how much of it."""


@dataclass(slots=True)
class Backfilled:
    """What a backfill came to."""

    policy: str
    taken: dict[str, int] = field(default_factory=lambda: {"decisions": 0, "outcomes": 0})
    """Sent, or with a dry run to be sent."""
    already_there: int = 0
    """Events of the files that were loaded before."""
    refused: Refused = field(default_factory=Refused)
    """Lines that are no events."""
    history: dict[str, int] = field(default_factory=dict)
    """What all of the policy's history comes to, joined: decisions, credited, late, orphan and so on."""
    from_ms: int | None = None
    """Event time of the earliest that is new."""
    until_ms: int | None = None
    """Of the latest."""


async def backfill(
    broker: Address,
    definition: PolicyDefinition,
    files: Mapping[Kind, Path | None],
    by: Operator,
    *,
    dry_run: bool,
    on_progress: OnProgress,
) -> Backfilled:
    """Load the files' events, or say what loading them would come to.

    Raises:
        ConfigError: there are no topics for it, some of it is too late, or another backfill began meanwhile.
        UnavailableError: no broker answers.
    """
    missing = [topic for topic in TOPIC_OF.values() if topic not in await existing_topics(broker)]
    if missing:
        raise ConfigError("backfill", [f"there is no topic {topic}: pipeline topics create" for topic in missing])
    found, partitions = Backfilled(definition.name), await deployed_partitions(broker)
    if partitions is None:
        raise ConfigError("backfill", ["there are no topics: pipeline topics create"])
    looking = Loading(broker, definition, files, partitions, on_progress, found)
    with looking.events() as events:
        await looking.gather(events)
    if dry_run or not any(found.taken.values()):
        return found
    told = {kind: path.name for kind, path in files.items() if path is not None}
    change = Change("history", definition.name, None, told | found.taken)
    loading = replace(looking, found=Backfilled(definition.name), ends_ms=defaultdict(int))
    try:
        async with changing(broker, by, change, f"{OWNER_PREFIX}{definition.name}-history") as outbox:
            for topic in TOPIC_OF.values():
                for number in range(partitions):
                    await outbox.fence(topic, number)
            with loading.events() as events:
                await loading.gather(events)
                await loading.send(outbox, events)
    except FencedError as error:
        fault = "another one began while this one sent: run it again, which sends what is not there"
        raise ConfigError(f"backfill of {definition.name}", [fault]) from error
    return loading.found


@dataclass(slots=True)
class Loading:
    """What every part of a backfill needs."""

    broker: Address
    definition: PolicyDefinition
    files: Mapping[Kind, Path | None]
    partitions: int
    on_progress: OnProgress
    found: Backfilled
    folder: Path = Path()
    ends_ms: defaultdict[int, int] = field(default_factory=lambda: defaultdict(int))
    """By partition: the latest decision that is there."""
    late: list[Event] = field(default_factory=list)
    """The first decision of the files that is too late, and how many there are."""
    late_count: int = 0

    @contextmanager
    def events(self) -> Iterator[ScratchRows]:
        """Open a place for all events, by time."""
        with TemporaryDirectory(prefix="pipeline-backfill-") as folder:
            self.folder = Path(folder)
            with scratch_rows(self.folder / "events") as events:
                yield events

    async def gather(self, events: ScratchRows) -> None:
        """Put all events side by side: those that are there, and the files' others; and join them.

        Raises:
            ConfigError: decisions of the files are too late.
        """
        for kind, topic in TOPIC_OF.items():
            await self._gather_loaded(events, kind, topic)
        for kind, path in self.files.items():
            if path is not None:
                self._gather_file(events, kind, path)
        if self.late:
            first = self.late[0]
            end_ms = self.ends_ms[partition_of(first.action_id.encode(), self.partitions)]
            fault = (
                f"{self.late_count} decisions were made before the end of the history that is there, and would be "
                f"joined too late ({first.action_id} of {first.at_ms}, where history goes to {end_ms}): load older "
                "files first, or all at once"
            )
            raise ConfigError(f"backfill of {self.definition.name}", [fault])
        self._join(events)

    async def _gather_loaded(self, events: ScratchRows, kind: Kind, topic: str) -> None:
        async for entries in entries_of(self.broker, topic, lambda *of: self.on_progress(f"reading {topic}", *of)):
            rows: dict[bytes, bytes | None] = {}
            for entry in entries:
                event = event_of(entry.value, kind, self.definition.name)
                if event is None:
                    continue
                rows[EVENT + event.sort_key] = THERE + event.raw
                if kind == "decision":
                    self.ends_ms[entry.partition] = max(self.ends_ms[entry.partition], event.at_ms)
            events.write(rows, ())

    def _gather_file(self, events: ScratchRows, kind: Kind, path: Path) -> None:
        with path.open("rb") as lines:
            for chunk in _chunks(events_in(lines, str(path), kind, self.definition.name, self.found.refused)):
                known = events.get_many([EVENT + event.sort_key for event in chunk])
                self.found.already_there += sum(1 for there in known if there is not None and there.startswith(THERE))
                fresh = [event for event, there in zip(chunk, known, strict=True) if there is None]
                if kind == "decision":
                    self._note_late(fresh)
                events.write({EVENT + event.sort_key: NEW + event.raw for event in fresh}, ())
                self.on_progress(f"reading {path.name}", lines.tell(), path.stat().st_size)

    def _note_late(self, fresh: Sequence[Event]) -> None:
        homes = (partition_of(event.action_id.encode(), self.partitions) for event in fresh)
        late = [event for event, home in zip(fresh, homes, strict=True) if event.at_ms < self.ends_ms[home]]
        self.late_count += len(late)
        self.late += late[: 1 - len(self.late)]

    def _join(self, events: ScratchRows) -> None:
        """Join it all as a replay will, and count what is new."""
        target = replace(self.definition, generation=self.definition.generation + 1)
        plan = ReplayPlan(target, "events", (self.definition.generation,), Limits(), has_history=True)
        total, now_ms = sum(1 for _ in events.scan(EVENT)), time.time_ns() // 1_000_000
        counts: Counter[str] = Counter()
        for number in range(self.partitions):
            with scratch_rows(self.folder / f"partition-{number}") as rows:
                offsets = dict.fromkeys((DECISIONS, OUTCOMES, HISTORY_DECISIONS, HISTORY_OUTCOMES), 0)
                recount = EventRecount(plan, rows, offsets)
                goes_on = {**offsets, HISTORY_DECISIONS: FAR, HISTORY_OUTCOMES: FAR}
                for chunk in _chunks(_of_partition(events, number, self.partitions)):
                    self._count_new(chunk)
                    for topic in TOPIC_OF.values():
                        of = [stored for stored in chunk if stored.topic == topic]
                        records = [(offsets[topic] + n, now_ms, None, stored.raw) for n, stored in enumerate(of)]
                        offsets[topic] += len(of)
                        while recount.positions[topic] < offsets[topic]:
                            recount.take(topic, records, offsets[topic])
                    recount.let_time_pass(goes_on)
                counts += recount.loaded
            self.on_progress("joining", total * (number + 1) // self.partitions, total)
        self.found.history = told_of(counts)

    def _count_new(self, chunk: Sequence[Stored]) -> None:
        found, times = self.found, [stored.at_ms for stored in chunk if stored.is_new]
        for stored in chunk:
            found.taken["decisions" if stored.topic == HISTORY_DECISIONS else "outcomes"] += stored.is_new
        if times:
            found.from_ms = min(times) if found.from_ms is None else min(found.from_ms, *times)
            found.until_ms = max(times) if found.until_ms is None else max(found.until_ms, *times)

    async def send(self, outbox: Outbox, events: ScratchRows) -> None:
        """Send what is new, in order."""
        total, done = sum(self.found.taken.values()), 0
        for chunk in _chunks(stored for stored in _stored(events) if stored.is_new):
            homes = [partition_of(stored.action_id, self.partitions) for stored in chunk]
            await outbox.deliver(
                Record(stored.topic, home, stored.action_id, stored.raw)
                for stored, home in zip(chunk, homes, strict=True)
            )
            done += len(chunk)
            self.on_progress("loading", done, total)


class Stored(NamedTuple):
    """An event as it lies among the others."""

    at_ms: int
    topic: str
    action_id: bytes
    is_new: bool
    raw: bytes


def _stored(events: ScratchRows) -> Iterator[Stored]:
    for stored_key, value in events.scan(EVENT):
        key = stored_key[len(EVENT) :]
        topic = HISTORY_DECISIONS if key[8:9] == b"0" else HISTORY_OUTCOMES
        action_id = key[9:].split(b"\0", 1)[0]
        yield Stored(int.from_bytes(key[:8], "big"), topic, action_id, value.startswith(NEW), value[1:])


def _of_partition(events: ScratchRows, number: int, partitions: int) -> Iterator[Stored]:
    return (stored for stored in _stored(events) if partition_of(stored.action_id, partitions) == number)


def _chunks(items: Iterable[T]) -> Iterator[list[T]]:
    left = iter(items)
    while chunk := list(islice(left, CHUNK)):
        yield chunk
