"""Events and time → changed rows, ledger records and dead letters. Pure: no clock, no IO but the rows handed in.

`take` puts records into rows; `advance` lets event time pass, in the order in which rows fall due:

    decided        close = decided + window        expires = close + grace
       │ outcomes credited │ outcomes still credited   │
       ├───────────────────┼───────────────────────────┤
       open                settled                     dropped

An erasure puts a tombstone in the row's place, until the row would have been dropped: what still comes for the action
is passed over.

Both return `Changes`, which the agent makes durable as one unit before the next step reads the rows.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

from pipeline.codec.wire import decode_event
from pipeline.errors import InvalidRecordError, RecordError, StateError
from pipeline.events import Contribution, Decision, Erasure, Event, Outcome, Tick
from pipeline.join.admission import admit, encode_missing
from pipeline.join.erasure import bound_without_subject, erased_record, is_same, without_subject
from pipeline.join.progress import DECISIONS, OUTCOMES, Progress
from pipeline.join.row import FACTS_BYTES, ActionRow, AwaitingOutcome, OutcomeFact
from pipeline.policy.book import PolicyBook
from pipeline.policy.definition import PolicyDefinition
from pipeline.policy.reward import Credit
from pipeline.policy.tallies import tallies_of

# A step's rows become one record batch of the changelog, which the topic bounds at 8 MiB: room for a budget of rows
# and the largest one behind it.
STEP_BYTES = 2 << 20
# A row must fit that batch, whatever a broken producer sends.
MAX_OUTCOMES = 500
MAX_AWAITING_BYTES = 1 << 20


OfAction = Decision | Outcome | Erasure


class Arrival(NamedTuple):
    """A record as it was read, decoded where that was possible."""

    offset: int
    timestamp_ms: int
    """The broker's timestamp of the record."""
    key: bytes | None
    raw: bytes
    event: Event | RecordError


class Refusal(NamedTuple):
    """A record that can't be used, and why."""

    stream: str
    offset: int
    timestamp_ms: int
    key: bytes | None
    raw: bytes
    error: RecordError


class Limits(NamedTuple):
    """How patient JOIN is, and what it can read."""

    orphan_hold_ms: int = 3_600_000
    """How long, in event time, an outcome waits for a decision that has not been read."""
    max_clock_skew_ms: int = 300_000
    """How far an event's time may be ahead of the broker's timestamp of its record."""
    registry: Mapping[int, str] = MappingProxyType({})
    """Confluent schema id → schema name."""


class ActionRows(Protocol):
    """The rows of one partition."""

    def load(self, action_ids: Sequence[str]) -> dict[str, ActionRow]:
        """Return the rows that exist."""

    def due(self, until_ms: int, limit: int) -> list[tuple[int, str]]:
        """Return up to `limit` (due_ms, action_id) with due_ms <= until_ms, in order."""


@dataclass(slots=True)
class Changes:
    """What one step did, to be made durable as a unit."""

    rows: dict[str, ActionRow | None] = field(default_factory=dict)
    """Changed rows by action_id; None: dropped."""
    rewards: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    """(action_id, ledger record), in order."""
    refusals: list[Refusal] = field(default_factory=list)
    """For `dead-letters`."""
    gone_due: list[tuple[int, str]] = field(default_factory=list)
    """Entries of the due index to remove: their rows are dropped, or say another time."""


def take(
    stream: str, arrivals: Sequence[Arrival], progress: Progress, store: ActionRows, book: PolicyBook, limits: Limits
) -> Changes:
    """Put one stream's records, in offset order, into their rows; `progress` is moved past those that were put.

    Records below the partition's position were taken before (a redelivery) and are passed over: what they
    changed was durable before that position was. A step stops where its rows would be too much for one record
    batch; call it again until the position is behind the last arrival.
    """
    changes = Changes()
    fresh: Sequence[Arrival] = [arrival for arrival in arrivals if arrival.offset >= progress.positions[stream]]
    if not fresh:
        return changes
    rows = store.load([arrival.event.action_id for arrival in fresh if isinstance(arrival.event, OfAction)])
    fresh = _within_budget(fresh, rows)
    taker = _Taker(stream, progress, book, limits, changes)
    taker.put(taker.admit(fresh), rows)
    progress.positions[stream] = fresh[-1].offset + 1
    for action_id in changes.rows:
        _emit(action_id, rows[action_id], progress.event_time_ms, book, changes)
    return changes


def advance(
    progress: Progress, at_end: frozenset[str], store: ActionRows, book: PolicyBook, limit: int
) -> Changes | None:
    """Let event time pass over up to `limit` due rows; None when no row is due and time stands still.

    Call it again until it returns None. Each ledger record is stamped with the time at which its row fell due.
    """
    target_ms = progress.next_event_time_ms(at_end)
    due = store.due(target_ms, limit)
    if not due and target_ms == progress.event_time_ms:
        return None
    changes = Changes()
    rows = store.load([action_id for _, action_id in due])
    is_all = len(due) < limit
    size = 0
    for due_ms, action_id in due:
        row = rows.get(action_id)
        if row is None or row.due_ms != due_ms:
            changes.gone_due.append((due_ms, action_id))
            continue
        size += row.bound_bytes
        if size > STEP_BYTES and changes.rows:
            is_all = False
            break
        _fall_due(action_id, row, progress, book, changes)
        if changes.rows[action_id] is None:
            changes.gone_due.append((due_ms, action_id))
    # What was cut off may stand between rows of the same time: time stops just before it.
    reached_ms = target_ms if is_all else due_ms - 1
    progress.event_time_ms = max(progress.event_time_ms, reached_ms)
    return changes


def _within_budget(arrivals: Sequence[Arrival], rows: Mapping[str, ActionRow]) -> Sequence[Arrival]:
    """Return the first arrivals whose rows fit one record batch of the changelog; at least one."""
    size = 0
    touched: set[str] = set()
    for index, arrival in enumerate(arrivals):
        if isinstance(arrival.event, OfAction):
            size += bound_without_subject(arrival.raw, arrival.event) + FACTS_BYTES
            action_id = arrival.event.action_id
            if action_id in rows and action_id not in touched:
                touched.add(action_id)
                size += rows[action_id].bound_bytes
        if size > STEP_BYTES and index:
            return arrivals[:index]
    return arrivals


def decode_arrivals(
    stream: str, records: Sequence[tuple[int, int, bytes | None, bytes | None]], registry: Mapping[int, str]
) -> list[Arrival]:
    """Decode (offset, timestamp_ms, key, value) records of one stream; what can't be decoded carries its error."""
    expected = "decision" if stream == DECISIONS else "outcome"
    arrivals = []
    for offset, timestamp_ms, key, value in records:
        event: Event | RecordError
        try:
            event = decode_event(value, expected, registry)
        except RecordError as error:
            event = error
        arrivals.append(Arrival(offset, timestamp_ms, key, value or b"", event))
    return arrivals


def _held(row: ActionRow, definition: PolicyDefinition) -> Contribution:
    """Return where a held row counts; how much, LEARN remembers."""
    return Contribution(
        0,
        definition.reward_exponent,
        row.vector,
        row.decided_at_ms // definition.bucket_ms,
        row.expires_ms,
        definition.statistics_hash,
        is_final=False,
    )


class _Admitted(NamedTuple):
    arrival: Arrival
    event: OfAction
    definition: PolicyDefinition | None
    """Of a decision."""
    vector: bytes


class _Taker:
    """One `take`: the arguments that every record needs."""

    def __init__(self, stream: str, progress: Progress, book: PolicyBook, limits: Limits, changes: Changes) -> None:
        self.stream = stream
        self.progress = progress
        self.book = book
        self.limits = limits
        self.changes = changes

    def count(self, fate: str, n: int = 1) -> None:
        self.progress.counts[f"{self.stream}.{fate}"] += n

    def refuse(self, arrival: Arrival, error: RecordError) -> None:
        self.count(f"rejected.{error.reason}")
        self.changes.refusals.append(
            Refusal(self.stream, arrival.offset, arrival.timestamp_ms, arrival.key, arrival.raw, error)
        )

    def admit(self, arrivals: Sequence[Arrival]) -> list[_Admitted]:
        """Check each record by itself; return those that go into rows, with decisions' vectors encoded in bulk."""
        admitted: list[_Admitted] = []
        decisions: list[tuple[Decision, PolicyDefinition]] = []
        for arrival in arrivals:
            self.count("read")
            event = arrival.event
            try:
                if isinstance(event, RecordError):
                    raise event
                self._check_time(arrival, event)
                if isinstance(event, Decision):
                    definition = admit(event, self.book)
                    decisions.append((event, definition))
                    admitted.append(_Admitted(arrival, event, definition, b""))
                elif isinstance(event, Tick):
                    self.count("ticks")
                else:
                    admitted.append(_Admitted(arrival, event, None, b""))
                self._mark_time(event)
            except RecordError as error:
                self.refuse(arrival, error)
        return self._encoded(admitted, encode_missing(decisions)) if decisions else admitted

    def _encoded(self, admitted: Sequence[_Admitted], vectors: Sequence[bytes | RecordError]) -> list[_Admitted]:
        """Give each decision its context vector, in order."""
        of_decisions = iter(vectors)
        encoded: list[_Admitted] = []
        for one in admitted:
            vector = next(of_decisions) if one.definition is not None else b""
            if isinstance(vector, RecordError):
                self.refuse(one.arrival, vector)
            else:
                encoded.append(_Admitted(one.arrival, one.event, one.definition, vector))
        return encoded

    def _check_time(self, arrival: Arrival, event: Event) -> None:
        """Refuse what would push event time into the future."""
        if isinstance(event, Erasure):  # of the past
            return
        at_ms = event_time_ms(event)
        if at_ms > arrival.timestamp_ms + self.limits.max_clock_skew_ms:
            raise InvalidRecordError(
                "far-future",
                f"event time {at_ms} is {at_ms - arrival.timestamp_ms} ms ahead of the broker's clock, accepted are "
                f"{self.limits.max_clock_skew_ms}: check the producer's clock and unit (milliseconds)",
            )

    def _mark_time(self, event: Event) -> None:
        """Let what was accepted move its stream's watermark: a refused record closes nobody's window."""
        if isinstance(event, Erasure):
            return
        marks = self.progress.watermarks_ms
        marks[self.stream] = max(marks[self.stream], event_time_ms(event))

    def put(self, admitted: Sequence[_Admitted], rows: dict[str, ActionRow]) -> None:
        for arrival, event, definition, vector in admitted:
            row = rows.get(event.action_id)
            try:
                if definition is not None and isinstance(event, Decision):
                    changed = self._put_decision(arrival, event, definition, vector, row)
                elif isinstance(event, Outcome):
                    changed = self._put_outcome(arrival, event, row)
                elif isinstance(event, Erasure):
                    changed = self._erase(event, row)
                else:
                    raise StateError(f"{type(event).__name__} was admitted without its policy")
            except RecordError as error:
                self.refuse(arrival, error)
                continue
            if changed is not None:
                rows[event.action_id] = changed
                self.changes.rows[event.action_id] = changed

    def _put_decision(
        self,
        arrival: Arrival,
        decision: Decision,
        definition: PolicyDefinition,
        vector: bytes,
        row: ActionRow | None,
    ) -> ActionRow | None:
        if row is not None and row.is_erased:
            self.count("erased")
            return None
        if row is not None and row.has_decision:
            self._check_same(arrival, row)
            self.count("duplicate")
            return None
        close_ms = definition.close_for(decision.decided_at_ms)
        expires_ms = definition.expires_for(decision.decided_at_ms)
        if expires_ms <= self.progress.event_time_ms:
            raise InvalidRecordError(
                "too-late",
                f"decided at {decision.decided_at_ms}, so its window and grace ended at {expires_ms}; the partition's "
                f"event time is {self.progress.event_time_ms}. Replay it, or give the policy more grace",
            )
        if row is None:
            row = ActionRow()
        row.raw = without_subject(arrival.raw, decision)
        row.vector = vector
        row.policy, row.generation = decision.policy, decision.generation
        row.segment, row.arm = decision.segment, decision.arm
        row.decided_at_ms, row.close_ms, row.expires_ms = decision.decided_at_ms, close_ms, expires_ms
        row.due_ms = close_ms
        self.count("open")
        awaiting, row.awaiting = row.awaiting, []
        for outcome in awaiting:
            self._stop_awaiting(outcome, definition, row)
        return row

    def _check_same(self, arrival: Arrival, row: ActionRow) -> None:
        """Refuse a repeat with other content: somebody's mistake, where one with the same content is a duplicate."""
        if arrival.raw == row.raw:
            return
        if not is_same(decode_event(row.raw, "decision", self.limits.registry), arrival.event):
            raise InvalidRecordError(
                "conflicting-duplicate",
                "a decision with this action_id but other content was read before and stands: give each its own",
            )

    def _stop_awaiting(self, outcome: AwaitingOutcome, definition: PolicyDefinition, row: ActionRow) -> None:
        counts = self.progress.counts
        counts["outcomes.awaiting-decision"] -= 1
        fact = OutcomeFact(outcome.kind, outcome.value, outcome.occurred_at_ms, outcome.offset)
        try:
            counts[f"outcomes.{_credit(outcome.outcome_id, fact, definition, row)}"] += 1
        except RecordError as error:
            counts[f"outcomes.rejected.{error.reason}"] += 1
            self.changes.refusals.append(_refused(outcome, error))

    def _erase(self, erasure: Erasure, row: ActionRow | None) -> ActionRow | None:
        """Put a tombstone in the row's place, and say in the ledger that the action is erased: each time it is asked.

        What a final contribution says stands, though there be a row: state that went back behind the ledger.
        """
        counts, event_time_ms = self.progress.counts, self.progress.event_time_ms
        self.count("erasures")
        counted = erasure.counted
        if row is not None and row.has_decision and (counted is None or not counted.is_final):
            counted = _held(row, _definition_of(row, self.book))
        self.changes.rewards.append((erasure.action_id, erased_record(erasure, counted, event_time_ms)))
        if row is not None and row.is_erased:
            return None
        # Of an action that nothing is known of (its decision was refused), a repeat may come as a late outcome may.
        until_ms = event_time_ms + self.limits.orphan_hold_ms if counted is None else counted.expires_at_ms
        if row is None:
            return ActionRow(due_ms=until_ms, is_erased=True) if until_ms > event_time_ms else None
        if row.has_decision:
            counts["decisions.settled" if row.is_settled else "decisions.open"] -= 1
            counts["decisions.erased"] += 1
        counts["outcomes.awaiting-decision"] -= len(row.awaiting)
        counts["outcomes.erased"] += len(row.awaiting)
        return ActionRow(due_ms=max(until_ms, row.due_ms), is_erased=True, stored_due_ms=row.stored_due_ms)

    def _put_outcome(self, arrival: Arrival, outcome: Outcome, row: ActionRow | None) -> ActionRow | None:
        if row is not None and row.is_erased:
            self.count("erased")
            return None
        if row is None or not row.has_decision:
            return self._put_awaiting(arrival, outcome, row)
        fact = OutcomeFact(outcome.kind, outcome.value, outcome.occurred_at_ms, arrival.offset)
        fate = _credit(outcome.outcome_id, fact, _definition_of(row, self.book), row)
        self.count(fate)
        return row if fate == "credited" else None

    def _put_awaiting(self, arrival: Arrival, outcome: Outcome, row: ActionRow | None) -> ActionRow | None:
        due_ms = outcome.occurred_at_ms + self.limits.orphan_hold_ms
        awaiting = AwaitingOutcome(
            outcome.outcome_id,
            outcome.kind,
            outcome.value,
            outcome.occurred_at_ms,
            arrival.offset,
            arrival.timestamp_ms,
            None if arrival.key is None else b64encode(arrival.key).decode(),
            b64encode(arrival.raw).decode(),
        )
        if row is None and due_ms <= self.progress.event_time_ms:
            self.count("expired-orphan")
            self.changes.refusals.append(_refused(awaiting, _no_decision(outcome.action_id, due_ms)))
            return None
        row = row or ActionRow()
        if any(known[:4] == awaiting[:4] for known in row.awaiting):
            self.count("duplicate")
            return None
        if row.bound_bytes > MAX_AWAITING_BYTES:
            raise _too_many(f"{len(row.awaiting)} outcomes wait for one decision")
        row.awaiting.append(awaiting)
        row.due_ms = max(row.due_ms, due_ms)
        self.count("awaiting-decision")
        return row


def _credit(outcome_id: str, fact: OutcomeFact, definition: PolicyDefinition, row: ActionRow) -> str:
    """Attach an outcome to its decision if it counts; return its fate.

    An id counts once: the first that can be credited, in the order of `outcomes`.
    """
    if outcome_id in row.outcomes:
        return "duplicate"
    refusal = definition.reward.refusal(fact.kind, fact.value)
    if refusal is not None:
        raise refusal
    if not _is_in_window(definition, row, fact):
        return "outside-window"
    if len(row.outcomes) >= MAX_OUTCOMES:
        raise _too_many(f"{MAX_OUTCOMES} outcomes of this action are credited already")
    row.outcomes[outcome_id] = fact
    return "credited"


def _refused(outcome: AwaitingOutcome, error: RecordError) -> Refusal:
    key = None if outcome.key is None else b64decode(outcome.key)
    return Refusal(OUTCOMES, outcome.offset, outcome.timestamp_ms, key, b64decode(outcome.raw), error)


def _too_many(seen: str) -> InvalidRecordError:
    return InvalidRecordError("too-many-outcomes", f"{seen}: does each have an outcome_id and action_id of its own?")


def event_time_ms(event: Event) -> int:
    """Return when the event happened."""
    if isinstance(event, Outcome):
        return event.occurred_at_ms
    if isinstance(event, Tick):
        return event.event_time_ms
    return event.decided_at_ms


def _definition_of(row: ActionRow, book: PolicyBook) -> PolicyDefinition:
    definition = book.find(row.policy, row.generation)
    if definition is None:
        raise StateError(
            f"a stored action belongs to generation {row.generation} of policy {row.policy!r}, which is not in the "
            "policies topic: restore that topic"
        )
    return definition


def _is_in_window(definition: PolicyDefinition, row: ActionRow, fact: OutcomeFact) -> bool:
    """Law: an outcome counts by when it occurred, whenever it arrives."""
    until_ms = row.decided_at_ms + definition.reward.window_ms_for(fact.kind)
    return row.decided_at_ms <= fact.occurred_at_ms <= until_ms


def _no_decision(action_id: str, until_ms: int) -> InvalidRecordError:
    return InvalidRecordError(
        "no-decision", f"no decision {action_id!r} was read by event time {until_ms}: was it sent, or is it rejected?"
    )


def _fall_due(action_id: str, row: ActionRow, progress: Progress, book: PolicyBook, changes: Changes) -> None:
    counts = progress.counts
    if not row.has_decision:
        for outcome in row.awaiting:
            counts["outcomes.awaiting-decision"] -= 1
            counts["outcomes.expired-orphan"] += 1
            changes.refusals.append(_refused(outcome, _no_decision(action_id, row.due_ms)))
        changes.rows[action_id] = None
    elif row.is_settled:
        changes.rows[action_id] = None
    else:
        counts["decisions.open"] -= 1
        counts["decisions.settled"] += 1
        stamp_ms = max(row.due_ms, progress.event_time_ms)
        row.is_settled = True
        row.due_ms = row.expires_ms
        changes.rows[action_id] = row
        _emit(action_id, row, stamp_ms, book, changes)


def _emit(action_id: str, row: ActionRow, stamp_ms: int, book: PolicyBook, changes: Changes) -> None:
    """Write the row's ledger record if it counts: settled, or open in a policy that settles optimistically."""
    if not row.has_decision:
        return
    definition = _definition_of(row, book)
    if not row.is_settled and definition.attribution.settle == "wait":
        return
    credited = [
        Credit(outcome_id, fact.kind, fact.value, fact.occurred_at_ms) for outcome_id, fact in row.outcomes.items()
    ]
    changes.rewards.append(
        (
            action_id,
            {
                "action_id": action_id,
                "revision": row.revision,
                "is_settled": row.is_settled,
                "policy": row.policy,
                "generation": row.generation,
                "segment": row.segment,
                "arm": row.arm,
                "reward": definition.reward.combine(credited),
                "reward_exponent": definition.reward_exponent,
                "context_vector": row.vector,
                "decided_at_ms": row.decided_at_ms,
                "bucket": row.decided_at_ms // definition.bucket_ms,
                "expires_at_ms": row.expires_ms,
                "event_time_ms": stamp_ms,
                "attribution": definition.statistics_hash,
                "outcomes": [credit._asdict() for credit in sorted(credited)],
                "decision": row.raw,
                "tallies": [
                    tally._asdict()
                    for tally in tallies_of(definition, credited, row.decided_at_ms, is_settled=row.is_settled)
                ],
            },
        )
    )
