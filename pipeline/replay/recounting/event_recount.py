"""A recount from the events: decisions and outcomes joined again, and what comes of it folded. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace

from pipeline.errors import InvalidRecordError
from pipeline.events import NO_CANDIDATES, UNREADABLE_CONTEXT, Decision, Erasure
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
    HISTORY,
    STATE,
    STEP_OFFSETS,
    Raw,
    ReplayRows,
    StillOpen,
    state_bytes,
    stored_state,
)

HISTORY_STREAMS = {"history-decisions": DECISIONS, "history-outcomes": OUTCOMES}
"""Topics of what was loaded, by the stream that JOIN takes each for."""
LIVE_STREAMS = {DECISIONS: DECISIONS, OUTCOMES: OUTCOMES}

# Takes the rows of decisions that don't count: they hold their action_id, as they do in JOIN.
FOREIGN = ""
FOREIGN_RAW = b"-"


@dataclass(slots=True)
class Lane:
    """Two topics that are joined with each other, by an event time of their own."""

    streams: Mapping[str, str]
    """Topic → stream."""
    progress: Progress
    place: Place | None = None
    """Says from where on records were sent on; None: none were."""

    def position(self, topic: str) -> int:
        """Return the next offset of one of its topics."""
        return self.progress.positions[self.streams[topic]]

    def unread(self, end: Mapping[str, int]) -> list[str]:
        """Return its topics that have something to read."""
        return [topic for topic in self.streams if self.position(topic) < end[topic]]


class EventRecount:
    """Decisions and outcomes joined again, and what comes of it folded.

    What was loaded as history is a lane of its own, joined before what is live: months of it move nobody's window, and
    what is still open at its end goes on into the live one, as the rows are the same.
    """

    def __init__(
        self, plan: ReplayPlan, rows: ReplayRows, start: Mapping[str, int], place: Place | None = None
    ) -> None:
        self.rows = rows
        self._plan = plan
        self._book = _book_of(plan)
        self._actions = StoredRows(rows, ACTION)
        stored = stored_state(rows)
        self.finished, progress, fold = stored or (0, "", "")
        self._live = Lane(LIVE_STREAMS, progress_from_bytes(progress.encode()) if stored else _at(start), place)
        self._history: Lane | None = None
        if plan.has_history:
            kept = rows.get(HISTORY)
            loaded = {stream: start[topic] for topic, stream in HISTORY_STREAMS.items()}
            self._history = Lane(HISTORY_STREAMS, _at(loaded) if kept is None else progress_from_bytes(kept))
        self._lanes = tuple(lane for lane in (self._history, self._live) if lane is not None)
        self._fold = fold_state_from_bytes(fold.encode()) if stored else FoldState()

    @property
    def positions(self) -> Mapping[str, int]:
        """Next offset to read, by topic."""
        return {topic: lane.position(topic) for lane in self._lanes for topic in lane.streams}

    @property
    def loaded(self) -> Counter[str]:
        """What became of the records of history, as `Progress.counts` names it."""
        return Counter() if self._history is None else self._history.progress.counts

    def next_topic(self, end: Mapping[str, int]) -> str | None:
        """Return the topic that is behind in event time, as long as it has something to read; of history first."""
        for lane in self._lanes:
            if unread := lane.unread(end):
                marks, streams = lane.progress.watermarks_ms, lane.streams
                return min(unread, key=lambda topic: marks[streams[topic]])
        return None

    def take(
        self, topic: str, records: Sequence[Raw], reached: int | None, unstamped: Container[int] = frozenset()
    ) -> None:
        """Join a step's records; as many as JOIN takes at once. What JOIN has sent on is read where it was sent to."""
        limits = self._plan.limits
        lane = next(lane for lane in self._lanes if topic in lane.streams)
        stream, progress = lane.streams[topic], lane.progress
        decoded = decode_arrivals(stream, records, limits.registry, unstamped)
        as_counted = self._as_counted if lane is self._live else self._as_loaded
        arrivals = [as_counted(arrival) for arrival in decoded]
        changes = take(stream, arrivals, progress, self._actions, self._book, limits, lane.place)
        is_through = not records or progress.positions[stream] > records[-1][0]
        if reached is not None and is_through:
            progress.positions[stream] = reached
        self._write(changes)

    def let_time_pass(self, end: Mapping[str, int]) -> None:
        """Let event time come to where the watermarks allow it; of a lane, once those before it are read."""
        for lane in self._lanes:
            unread = lane.unread(end)
            at_end = frozenset(stream for topic, stream in lane.streams.items() if topic not in unread)
            while changes := advance(lane.progress, at_end, self._actions, self._book, STEP_OFFSETS):
                if changes.rows or changes.gone_due:
                    self._write(changes)
            if unread:
                return

    def finish(self) -> None:
        """Note that a cut has been come to."""
        self.finished += 1
        self._write(Changes())

    def event_time_ms(self) -> int:
        """Return the event time come to."""
        return max(lane.progress.event_time_ms for lane in self._lanes)

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
            anew = "" if event.undecodable != UNREADABLE_CONTEXT else UNREADABLE_CONTEXT
            return arrival._replace(event=event._replace(context_vector=b"", schema_hash="", undecodable=anew))
        foreign = event._replace(
            policy=FOREIGN,
            generation=definition.generation,
            segment="foreign",
            arm=definition.arm_names[0],
            context={},
            context_vector=bytes(2 * definition.dimension),
            schema_hash="",
            undecodable="",
            subject_hash=None,
            candidates=NO_CANDIDATES,
        )
        return arrival._replace(event=foreign, raw=FOREIGN_RAW, rewritten=None)

    def _as_loaded(self, arrival: Arrival) -> Arrival:
        """Let a decision of history count whatever generation it says; one of another policy means nothing here."""
        event, plan = arrival.event, self._plan
        if not isinstance(event, Decision):
            return arrival
        if event.policy != plan.definition.name or not plan.generations:
            return arrival._replace(event=InvalidRecordError("unknown-policy", f"history of {event.policy!r}"))
        return self._as_counted(arrival._replace(event=event._replace(generation=plan.generations[-1])))

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
        rows[STATE] = state_bytes(self.finished, self._live.progress.to_bytes(), self._fold)
        if self._history is not None:
            rows[HISTORY] = self._history.progress.to_bytes()
        self.rows.write(rows, due)


def _at(start: Mapping[str, int]) -> Progress:
    """Return the progress of a log that may be older than ticks that tell a clock."""
    positions = {stream: start[stream] for stream in (DECISIONS, OUTCOMES)}
    return Progress(positions=positions, clocks_ms=dict.fromkeys(positions, TRUSTED_MS))


def _book_of(plan: ReplayPlan) -> PolicyBook:
    """Return what JOIN is to know: the past generations, all under the plan's definition."""
    definition = plan.definition
    book = PolicyBook()
    for generation in plan.generations:
        book.put(replace(definition, generation=generation))
    book.put(replace(definition, name=FOREIGN, attribution=Attribution("wait", definition.grace_ms)))
    return book
