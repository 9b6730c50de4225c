"""Count one partition's past again, with the very steps of JOIN and LEARN. Pure: rows are handed in.

Rows, in one store: r<action_id> as in JOIN | n<action_id> what the action counts for, as in LEARN, and its context
vector | c<row key> sums | s how far it is read. A step's rows are written as a unit, so that it goes on from wherever
it was stopped.

An erasure says what was counted for the action where it was learned; here it takes back what is counted for it here. So
what an action counts for is kept, as long as the folder is.

Which records a step takes and when event time passes follows from offsets and contents alone, never from how they
were fetched: that is what makes a replay repeatable.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

import orjson

from pipeline.codec import avro
from pipeline.errors import StateError
from pipeline.events import Decision, Erasure
from pipeline.join.progress import DECISIONS, OUTCOMES, Progress, progress_from_bytes
from pipeline.join.row import ActionRow
from pipeline.join.step import Arrival, Changes, advance, decode_arrivals, take
from pipeline.join.stored_row import row_from_bytes, row_to_bytes
from pipeline.learn.ledger import LedgerRecord, fold_ledger, ledger_record, merge_deltas
from pipeline.learn.memory import (
    NEVER_MS,
    FoldState,
    RowKey,
    counted_bytes,
    counted_from_bytes,
    fold_state_from_bytes,
    statistics_from_bytes,
    statistics_to_bytes,
)
from pipeline.models.statistics import Statistics
from pipeline.policy.book import PolicyBook
from pipeline.policy.definition import Attribution
from pipeline.policy.reward import Credit
from pipeline.policy.tallies import tallies_of
from pipeline.replay.plan import ReplayPlan
from pipeline.replay.shown import shown_by

VERSION = 1
ACTION, COUNTED, SUMS, STATE = b"r", b"n", b"c", b"s"
REWARDS = "rewards"
STEP_OFFSETS = 2_000
"""A step ends at the latest at a multiple of it."""
# Takes the rows of decisions that don't count: they hold their action_id, as they do in JOIN.
FOREIGN = ""
FOREIGN_RAW = b"-"

Raw = tuple[int, int, bytes | None, bytes | None]
"""(offset, timestamp_ms, key, value) of a record as it was read."""
Rows = Mapping[bytes, bytes | None]
Due = Iterable[tuple[int, bytes, bool]]
"""(due_ms, row id, whether the entry is to be there)."""


class ReplayRows(Protocol):
    """One partition's rows, by key, with an index of due ones."""

    def get(self, key: bytes) -> bytes | None:
        """Return one row."""

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return rows in the order of their keys."""

    def due(self, until_ms: int, limit: int) -> list[tuple[int, bytes]]:
        """Return up to `limit` index entries up to and including `until_ms`, in order."""

    def scan(self, prefix: bytes) -> Iterable[tuple[bytes, bytes]]:
        """Yield the rows whose keys begin with `prefix`, by key."""

    def write(self, rows: Rows, due: Due) -> None:
        """Write rows (None deletes) and index entries as a unit."""


class StillOpen(NamedTuple):
    """Decisions whose reward may still change."""

    decisions: int
    """How many there are."""
    until_ms: int
    """Event time at which the last of them is let go; 0: there are none."""


class Recount(Protocol):
    """A partition's past, counted up to somewhere."""

    finished: int
    """Cuts that it has come to, the first one not counted."""
    rows: ReplayRows
    """Where everything is kept."""

    @property
    def positions(self) -> Mapping[str, int]:
        """Next offset to read, by topic."""

    def next_topic(self, end: Mapping[str, int]) -> str | None:
        """Return the topic to read next; None when all are read up to `end`."""

    def take(self, topic: str, records: Sequence[Raw], reached: int | None) -> None:
        """Count the records of a step; with `reached`, there are no others below that offset."""

    def let_time_pass(self, end: Mapping[str, int]) -> None:
        """Settle and let go what has fallen due."""

    def finish(self) -> None:
        """Note that a cut has been come to."""

    def event_time_ms(self) -> int:
        """Return the event time come to."""

    def still_open(self) -> StillOpen:
        """Tell what may still change."""


def open_recount(plan: ReplayPlan, rows: ReplayRows, start: Mapping[str, int]) -> Recount:
    """Return a partition's recount as its rows say, or one that begins at `start`."""
    return (EventRecount if plan.source == "events" else LedgerRecount)(plan, rows, start)


def sums_of(rows: ReplayRows) -> dict[RowKey, Statistics]:
    """Return the statistics counted so far."""
    return {RowKey(*orjson.loads(key[1:])): statistics_from_bytes(value) for key, value in rows.scan(SUMS)}


class EventRecount:
    """Decisions and outcomes joined again, and what comes of it folded."""

    def __init__(self, plan: ReplayPlan, rows: ReplayRows, start: Mapping[str, int]) -> None:
        self.rows = rows
        self._plan = plan
        self._book = _book_of(plan)
        stored = _stored_state(rows)
        self.finished, progress, fold = stored or (0, "", "")
        self._progress = progress_from_bytes(progress.encode()) if stored else Progress(positions=dict(start))
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

    def take(self, topic: str, records: Sequence[Raw], reached: int | None) -> None:
        """Join a step's records; as many as JOIN takes at once."""
        limits = self._plan.limits
        arrivals = [self._as_counted(arrival) for arrival in decode_arrivals(topic, records, limits.registry)]
        changes = take(topic, arrivals, self._progress, _Actions(self.rows), self._book, limits)
        is_through = not records or self._progress.positions[topic] > records[-1][0]
        if reached is not None and is_through:
            self._progress.positions[topic] = reached
        self._write(changes)

    def let_time_pass(self, end: Mapping[str, int]) -> None:
        """Let event time come to where the watermarks allow it."""
        at_end = frozenset(topic for topic, position in self.positions.items() if position >= end[topic])
        while changes := advance(self._progress, at_end, _Actions(self.rows), self._book, STEP_OFFSETS):
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
        rows = (row_from_bytes(stored) for _, stored in self.rows.scan(ACTION))
        expiries = [row.expires_ms for row in rows if row.policy == self._plan.definition.name]
        return StillOpen(len(expiries), max(expiries, default=0))

    def _as_counted(self, arrival: Arrival) -> Arrival:
        """Let a decision that does not count here only hold its action_id, and an erasure only name its action."""
        event, definition = arrival.event, self._plan.definition
        if isinstance(event, Erasure):
            return arrival._replace(event=event._replace(counted=None))
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
        )
        return arrival._replace(event=foreign, raw=FOREIGN_RAW)

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
        ours = [fields for fields in emitted if _is_counted(fields, self._plan)]
        records = [_record(self._fold.position + index, fields, self._plan) for index, fields in enumerate(ours)]
        rows |= _folded(records, self._fold, self.rows, self._plan)
        rows[STATE] = _state(self.finished, self._progress.to_bytes(), self._fold)
        self.rows.write(rows, due)


class LedgerRecount:
    """The ledger folded again, its credits weighed by another definition."""

    def __init__(self, plan: ReplayPlan, rows: ReplayRows, start: Mapping[str, int]) -> None:
        self.rows = rows
        self._plan = plan
        stored = _stored_state(rows)
        self.finished, _, fold = stored or (0, "", "")
        self._fold = fold_state_from_bytes(fold.encode()) if stored else FoldState(start[REWARDS])

    @property
    def positions(self) -> Mapping[str, int]:
        """Next offset to read, by topic."""
        return {REWARDS: self._fold.position}

    def next_topic(self, end: Mapping[str, int]) -> str | None:
        """Return the ledger, as long as it has something to read."""
        return REWARDS if self._fold.position < end[REWARDS] else None

    def take(self, topic: str, records: Sequence[Raw], reached: int | None) -> None:
        """Fold a step's records."""
        del topic  # it reads but one
        decoded = [(raw[0], avro.decode_as("reward", raw[3] or b"")) for raw in records]
        weighed = [self._weigh(offset, fields) for offset, fields in decoded]
        rows = _folded([record for record in weighed if record], self._fold, self.rows, self._plan)
        if records:
            self._fold.position = max(self._fold.position, records[-1][0] + 1)
        if reached is not None:
            self._fold.position = reached
        rows[STATE] = _state(self.finished, b"", self._fold)
        self.rows.write(rows, ())

    def let_time_pass(self, end: Mapping[str, int]) -> None:
        """Do nothing: the ledger says itself what time it is."""

    def finish(self) -> None:
        """Note that a cut has been come to."""
        self.finished += 1
        self.rows.write({STATE: _state(self.finished, b"", self._fold)}, ())

    def event_time_ms(self) -> int:
        """Return the highest event time on the ledger."""
        return self._fold.watermark_ms

    def still_open(self) -> StillOpen:
        """Count the actions that a later record may revise."""
        counted = (counted_from_bytes(stored) for _, stored in self.rows.scan(COUNTED))
        expiries = [one.expires_at_ms for one in counted if self._fold.watermark_ms <= one.expires_at_ms < NEVER_MS]
        return StillOpen(len(expiries), max(expiries, default=0))

    def _weigh(self, offset: int, fields: Mapping[str, Any]) -> LedgerRecord | None:
        """Say what an action has earned under the plan's definition; None: it does not count yet, or not here.

        LEARN's watermark is moved by every policy's records. It only says which repeats are too old to matter, and what
        they repeat is remembered here.
        """
        definition = self._plan.definition
        if not _is_counted(fields, self._plan):
            return None
        record = _record(offset, fields, self._plan)
        if record.is_erased:
            return record
        if definition.attribution.settle == "wait" and not fields["is_settled"]:
            return None
        decided_at_ms = fields["decided_at_ms"]
        credited = [
            Credit(**outcome)
            for outcome in fields["outcomes"]
            if definition.reward.refusal(outcome["kind"], outcome["value"]) is None
            and outcome["occurred_at_ms"] <= decided_at_ms + definition.reward.window_ms_for(outcome["kind"])
        ]
        found = tallies_of(definition, credited, shown_by(definition, fields), is_settled=fields["is_settled"])
        return record._replace(reward=definition.reward.combine(credited), tallies=tuple(found))


class _Actions:
    """JOIN's view of the rows."""

    def __init__(self, rows: ReplayRows) -> None:
        self._rows = rows

    def load(self, action_ids: Sequence[str]) -> dict[str, ActionRow]:
        """Return the rows that exist."""
        ids = list(dict.fromkeys(action_ids))
        stored = self._rows.get_many([ACTION + action_id.encode() for action_id in ids])
        return {one: row_from_bytes(value) for one, value in zip(ids, stored, strict=True) if value is not None}

    def due(self, until_ms: int, limit: int) -> list[tuple[int, str]]:
        """Return rows that fall due, in order."""
        return [(due_ms, row_id.decode()) for due_ms, row_id in self._rows.due(until_ms, limit)]


def _book_of(plan: ReplayPlan) -> PolicyBook:
    """Return what JOIN is to know: the past generations, all under the plan's definition."""
    definition = plan.definition
    book = PolicyBook()
    for generation in plan.generations:
        book.put(replace(definition, generation=generation))
    book.put(replace(definition, name=FOREIGN, attribution=Attribution("wait", definition.grace_ms)))
    return book


def _is_counted(fields: Mapping[str, Any], plan: ReplayPlan) -> bool:
    return fields["policy"] == plan.definition.name and fields["generation"] in plan.generations


def _record(offset: int, fields: Mapping[str, Any], plan: ReplayPlan) -> LedgerRecord:
    """Take a ledger record into the plan's generation and buckets."""
    definition = plan.definition
    record = ledger_record(offset, fields)
    bucket = fields["decided_at_ms"] // definition.bucket_ms
    record = record._replace(key=record.key._replace(generation=definition.generation, bucket=bucket))
    # What is erased is taken back from memory, which does not end here.
    return record._replace(expires_at_ms=NEVER_MS) if record.is_erased else record


def _folded(
    records: Sequence[LedgerRecord], state: FoldState, rows: ReplayRows, plan: ReplayPlan
) -> dict[bytes, bytes | None]:
    """Fold records and return the rows that this changes; `state` is moved past them."""
    ids = list(dict.fromkeys(record.action_id for record in records))
    stored = rows.get_many([COUNTED + action_id.encode() for action_id in ids])
    known = {one: value for one, value in zip(ids, stored, strict=True) if value is not None}
    vectors = {one: value[counted_bytes(value) :] for one, value in known.items()}
    for record in records:
        if not record.is_erased:
            vectors[record.action_id] = record.vector
    own = [record._replace(vector=vectors.get(record.action_id, b"")) for record in records]
    fold = fold_ledger(own, {one: counted_from_bytes(value) for one, value in known.items()}, state)
    keys = list(fold.deltas)
    before = rows.get_many([SUMS + key.to_bytes() for key in keys])
    sums = {key: statistics_from_bytes(value) for key, value in zip(keys, before, strict=True) if value is not None}
    merge_deltas(sums, fold.deltas.items())
    dimension_of = plan.definition.dimension_of
    strange = [key for key, row in sums.items() if not key.tally and row.dimension != dimension_of(key.arm)]
    if strange:
        raise StateError(f"{strange[0]} was learned with another context: the ledger is damaged")
    changed: dict[bytes, bytes | None] = {
        # Of an erased action nothing is kept but that it is.
        COUNTED + one.encode(): counted.to_bytes() + (b"" if counted.is_erased else vectors[one])
        for one, counted in fold.counted.items()
    }
    changed |= {SUMS + key.to_bytes(): statistics_to_bytes(row) for key, row in sums.items()}
    return changed


def _state(finished: int, progress: bytes, fold: FoldState) -> bytes:
    return orjson.dumps([VERSION, finished, progress.decode(), fold.to_bytes().decode()])


def _stored_state(rows: ReplayRows) -> tuple[int, str, str] | None:
    stored = rows.get(STATE)
    if stored is None:
        return None
    version, finished, progress, fold = orjson.loads(stored)
    if version != VERSION:
        raise StateError(
            f"a replay's folder of version {version}, this code reads {VERSION}: remove it, and replay again"
        )
    return finished, progress, fold
