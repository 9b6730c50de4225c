"""A recount from the events: decisions and outcomes joined again, and what comes of it folded. Pure."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import replace

from pipeline.events import NO_CANDIDATES, Decision, Erasure
from pipeline.join.forwarding import Place
from pipeline.join.progress import DECISIONS, OUTCOMES, TRUSTED_MS, Progress, progress_from_bytes
from pipeline.join.step import Arrival, Changes, advance, decode_arrivals, take
from pipeline.join.stored_row import row_from_bytes, row_to_bytes
from pipeline.join.stored_rows import StoredRows
from pipeline.learn.memory import FoldState, fold_state_from_bytes
from pipeline.policy.book import PolicyBook
from pipeline.policy.definition import Attribution
from pipeline.replay.recounting.fold import folded, is_counted, record_of
from pipeline.replay.recounting.plan import ReplayPlan
from pipeline.replay.recounting.rows import (
    ACTION,
    STATE,
    STEP_OFFSETS,
    Raw,
    ReplayRows,
    StillOpen,
    state_bytes,
    stored_state,
)

# Takes the rows of decisions that don't count: they hold their action_id, as they do in JOIN.
FOREIGN = ""
FOREIGN_RAW = b"-"


class EventRecount:
    """Decisions and outcomes joined again, and what comes of it folded."""

    def __init__(
        self, plan: ReplayPlan, rows: ReplayRows, start: Mapping[str, int], place: Place | None = None
    ) -> None:
        self.rows = rows
        self._plan = plan
        self._place = place
        self._book = _book_of(plan)
        self._actions = StoredRows(rows, ACTION)
        stored = stored_state(rows)
        self.finished, progress, fold = stored or (0, "", "")
        self._progress = progress_from_bytes(progress.encode()) if stored else _at(start)
        self._fold = fold_state_from_bytes(fold.encode()) if stored else FoldState()

    @property
    def positions(self) -> Mapping[str, int]:
        """Next offset to read, by topic."""
        return self._progress.positions

    def next_topic(self, end: Mapping[str, int]) -> str | None:
        """Return the topic that is behind in event time, as long as it has something to read."""
        marks, positions = self._progress.watermarks_ms, self._progress.positions
        unread = [topic for topic in (DECISIONS, OUTCOMES) if positions[topic] < end[topic]]
        return min(unread, key=lambda topic: marks[topic], default=None)

    def take(
        self, topic: str, records: Sequence[Raw], reached: int | None, unstamped: Container[int] = frozenset()
    ) -> None:
        """Join a step's records; as many as JOIN takes at once. What JOIN has sent on is read where it was sent to."""
        limits = self._plan.limits
        decoded = decode_arrivals(topic, records, limits.registry, unstamped)
        arrivals = [self._as_counted(arrival) for arrival in decoded]
        changes = take(topic, arrivals, self._progress, self._actions, self._book, limits, self._place)
        is_through = not records or self._progress.positions[topic] > records[-1][0]
        if reached is not None and is_through:
            self._progress.positions[topic] = reached
        self._write(changes)

    def let_time_pass(self, end: Mapping[str, int]) -> None:
        """Let event time come to where the watermarks allow it."""
        at_end = frozenset(topic for topic, position in self.positions.items() if position >= end[topic])
        while changes := advance(self._progress, at_end, self._actions, self._book, STEP_OFFSETS):
            if changes.rows or changes.gone_due:
                self._write(changes)

    def finish(self) -> None:
        """Note that a cut has been come to."""
        self.finished += 1
        self._write(Changes())

    def event_time_ms(self) -> int:
        """Return the event time come to."""
        return self._progress.event_time_ms

    def still_open(self) -> StillOpen:
        """Count the decisions that are held: outcomes may still be credited to them."""
        rows = (row_from_bytes(stored, key[len(ACTION) :].decode()) for key, stored in self.rows.scan(ACTION))
        expiries = [row.expires_ms for row in rows if row.policy == self._plan.definition.name]
        return StillOpen(len(expiries), max(expiries, default=0))

    def _as_counted(self, arrival: Arrival) -> Arrival:
        """Let a decision that does not count here only hold its action_id, and an erasure only name its action."""
        event, definition = arrival.event, self._plan.definition
        if isinstance(event, Erasure):
            # One that says what was counted is of this partition, whatever is still held of its action.
            is_here = arrival.is_forwarded or event.counted is not None
            return arrival._replace(event=event._replace(counted=None), is_forwarded=is_here)
        if not isinstance(event, Decision):
            return arrival
        if event.policy == definition.name and event.generation in self._plan.generations:
            if not self._plan.is_encoded_anew:
                return arrival
            # As if the producer had sent the raw context alone: JOIN's own step encodes it.
            return arrival._replace(event=event._replace(context_vector=b"", schema_hash=""))
        foreign = event._replace(
            policy=FOREIGN,
            generation=definition.generation,
            segment="foreign",
            arm=definition.arm_names[0],
            context={},
            context_vector=bytes(2 * definition.dimension),
            schema_hash="",
            subject_hash=None,
            candidates=NO_CANDIDATES,
        )
        return arrival._replace(event=foreign, raw=FOREIGN_RAW, rewritten=None)

    def _write(self, changes: Changes) -> None:
        """Fold what a step has emitted, and keep all of it as a unit."""
        rows: dict[bytes, bytes | None] = {}
        due = [(due_ms, action_id.encode(), False) for due_ms, action_id in changes.gone_due]
        for action_id, row in changes.rows.items():
            row_id = action_id.encode()
            if row is None:
                rows[ACTION + row_id] = None
                continue
            rows[ACTION + row_id] = row_to_bytes(row)
            if row.stored_due_ms is not None and row.stored_due_ms != row.due_ms:
                due.append((row.stored_due_ms, row_id, False))
            due.append((row.due_ms, row_id, True))
        emitted = [reward.fields() for reward in changes.rewards]
        ours = [fields for fields in emitted if is_counted(fields, self._plan)]
        records = [record_of(self._fold.position + index, fields, self._plan) for index, fields in enumerate(ours)]
        rows |= folded(records, self._fold, self.rows, self._plan)
        rows[STATE] = state_bytes(self.finished, self._progress.to_bytes(), self._fold)
        self.rows.write(rows, due)


def _at(start: Mapping[str, int]) -> Progress:
    """Return the progress of a log that may be older than ticks that tell a clock."""
    return Progress(positions=dict(start), clocks_ms=dict.fromkeys(start, TRUSTED_MS))


def _book_of(plan: ReplayPlan) -> PolicyBook:
    """Return what JOIN is to know: the past generations, all under the plan's definition."""
    definition = plan.definition
    book = PolicyBook()
    for generation in plan.generations:
        book.put(replace(definition, generation=generation))
    book.put(replace(definition, name=FOREIGN, attribution=Attribution("wait", definition.grace_ms)))
    return book
