"""Records → rows, in offset order. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from pipeline.codec.wire import MAX_RECORD_BYTES, read_accepted
from pipeline.errors import InvalidRecordError, RecordError, StateError
from pipeline.events import (
    MAX_AGE_MS,
    NO_CLOCK_MS,
    SCHEMA_MISMATCH,
    Contribution,
    Decision,
    Erasure,
    Event,
    Outcome,
    Tick,
    earliest_ms,
    far_future,
    is_id,
    no_id,
    wrong_unit,
)
from pipeline.join.admission import admit, check_ids, encode_missing, event_time_ms, is_of_another_schema, placed
from pipeline.join.budget import within_budget
from pipeline.join.changes import (
    ActionRows,
    Arrival,
    Changes,
    Limits,
    Refusal,
    no_decision,
    refused_outcome,
)
from pipeline.join.crediting import MAX_AWAITING_BYTES, credit, too_many
from pipeline.join.emit import Emitter, definition_of
from pipeline.join.erasure import erased_record
from pipeline.join.erasure_check import check_contribution
from pipeline.join.forwarding import Place, part
from pipeline.join.kept_record import is_same, kept_record
from pipeline.join.progress import UNDECODABLE, Progress
from pipeline.join.row import ActionRow, AwaitingOutcome, OutcomeFact
from pipeline.outcome_id import kept_id
from pipeline.policy.book import PolicyBook
from pipeline.policy.definition import PolicyDefinition

OfAction = Decision | Outcome | Erasure
_OF_ACTION = (Decision, Outcome, Erasure)


def take(
    stream: str,
    arrivals: Sequence[Arrival],
    progress: Progress,
    store: ActionRows,
    book: PolicyBook,
    limits: Limits,
    place: Place | None = None,
) -> Changes:
    """Put one stream's records, in offset order, into their rows; `progress` is moved past those that were put.

    Records below the partition's position were taken before (a redelivery) and are passed over: what they
    changed was durable before that position was. A step stops where its rows would be too much for one record
    batch; call it again until the position is behind the last arrival. With a `place`, records of actions that belong
    to other partitions are sent on.
    """
    changes = Changes()
    position = progress.positions[stream]
    fresh = arrivals if arrivals and arrivals[0].offset >= position else [a for a in arrivals if a.offset >= position]
    if not fresh:
        return changes
    rows = store.load([arrival.event.action_id for arrival in fresh if isinstance(arrival.event, _OF_ACTION)])
    fresh = within_budget(fresh, rows)
    progress.positions[stream] = fresh[-1].offset + 1
    taker = _Taker(stream, progress, book, limits, changes)
    if place is not None:
        fresh, changes.forwards = part(stream, fresh, rows, place)
        taker.fates |= {"read": len(changes.forwards), "forwarded": len(changes.forwards)}
    taker.put(*taker.admit(fresh), rows)
    taker.note()
    stamp_ms, emitter, rewards = progress.event_time_ms, Emitter(book), changes.rewards
    for action_id, row in changes.rows.items():
        if row is not None and (record := emitter.record(action_id, row, stamp_ms)) is not None:
            rewards.append(record)
    return changes


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


Admitted = tuple[Arrival, OfAction, PolicyDefinition | None]
"""With a decision, the definition it was made under."""

Vectors = Sequence[bytes | RecordError]
"""Of decisions, in order."""


class _Taker:
    """One `take`: the arguments that every record needs."""

    def __init__(self, stream: str, progress: Progress, book: PolicyBook, limits: Limits, changes: Changes) -> None:
        self.stream = stream
        self.progress = progress
        self.book = book
        self.limits = limits
        self.changes = changes
        self._checked: dict[tuple[str, int, str, str, str, int], tuple[PolicyDefinition, bool]] = {}
        self.fates: Counter[str] = Counter()
        """What became of how many of the stream's records; counted by `note` when all are through."""

    def count(self, fate: str) -> None:
        self.fates[fate] += 1

    def note(self) -> None:
        counts = self.progress.counts
        self.changes.before_decision += self.fates["before-decision"]
        for fate, n in self.fates.items():
            counts[f"{self.stream}.{fate}"] += n

    def refuse(self, arrival: Arrival, error: RecordError) -> None:
        self.count(f"rejected.{error.reason}")
        # A letter names the original, which whoever sent it knows.
        partition, offset = arrival.source or (None, arrival.offset)
        self.changes.refusals.append(
            Refusal(self.stream, offset, arrival.timestamp_ms, arrival.key, arrival.raw, error, partition)
        )

    def admit(self, arrivals: Sequence[Arrival]) -> tuple[Sequence[Admitted], Vectors]:
        """Check each record by itself; return those that go into rows, and decisions' vectors, encoded in bulk."""
        admitted: list[Admitted] = []
        decisions: list[tuple[Decision, PolicyDefinition]] = []
        skew_ms, is_bounded = self.limits.max_clock_skew_ms, self.limits.is_time_bounded
        watermark_ms = self.progress.watermarks_ms[self.stream]
        for arrival in arrivals:
            event = arrival.event
            try:
                if isinstance(event, RecordError):
                    raise event
                at_ms = event.decided_at_ms if isinstance(event, Decision) else event_time_ms(event)
                if not (-MAX_AGE_MS <= at_ms - arrival.timestamp_ms <= skew_ms and arrival.is_stamped):
                    self._check_time(arrival, event, at_ms)
                if isinstance(event, Decision):
                    definition, is_mismatch = self._definition_for(event)
                    check_ids(event, definition)
                    if is_mismatch and not event.undecodable:
                        event = event._replace(undecodable=SCHEMA_MISMATCH)
                    decisions.append((event, definition))
                    admitted.append((arrival, event, definition))
                elif isinstance(event, Tick):
                    self._tick(arrival, event)
                else:
                    admitted.append((arrival, event, None))
                if not is_bounded:
                    watermark_ms = max(watermark_ms, at_ms)
            except RecordError as error:
                self.refuse(arrival, error)
        if not is_bounded:
            self.progress.watermarks_ms[self.stream] = watermark_ms
        self.fates["read"] += len(arrivals)
        return admitted, encode_missing(decisions) if decisions else ()

    def _tick(self, arrival: Arrival, tick: Tick) -> None:
        """Let a stream's time come to what a tick tells, as far as the broker's clock says so, or the worker's own."""
        self.count("ticks")
        progress, marks_ms = self.progress, self.progress.watermarks_ms
        if arrival.is_stamped:
            marks_ms[self.stream] = max(marks_ms[self.stream], min(tick.event_time_ms, arrival.timestamp_ms))
            return
        progress.hear(self.stream, tick.event_time_ms)
        if tick.clock_ms != NO_CLOCK_MS:
            progress.tell(self.stream, tick.clock_ms)

    def _check_time(self, arrival: Arrival, event: Event, at_ms: int) -> None:
        """Refuse times that no producer can mean. A tick is the worker's own, and moves no time ahead of the log's."""
        timestamp_ms, skew_ms = arrival.timestamp_ms, self.limits.max_clock_skew_ms
        is_bounded = self.limits.is_time_bounded
        if at_ms > timestamp_ms + skew_ms and not (is_bounded and isinstance(event, Tick)):
            raise far_future(at_ms, timestamp_ms, skew_ms)
        is_timed = is_bounded and isinstance(event, Decision | Outcome)
        if is_timed and at_ms < earliest_ms(timestamp_ms, is_stamped=arrival.is_stamped):
            raise wrong_unit(at_ms, timestamp_ms)

    def _definition_for(self, decision: Decision) -> tuple[PolicyDefinition, bool]:
        """Return a decision's definition, and whether its vector was made by other features."""
        # A step's decisions share a few policies, segments and arms, and encode alike, which is checked once.
        alike = (
            decision.policy,
            decision.generation,
            decision.segment,
            decision.arm,
            decision.schema_hash,
            len(decision.context_vector),
        )
        known = self._checked.get(alike)
        if known is None:
            definition = admit(decision, self.book)
            known = definition, is_of_another_schema(decision, definition)
            if decision.arm in definition.arm_set:  # a candidate is one by what its own record says
                self._checked[alike] = known
        return known

    def put(self, admitted: Sequence[Admitted], vectors: Vectors, rows: dict[str, ActionRow]) -> None:
        """Put records into rows, in order."""
        of_decisions = iter(vectors)
        changed_rows = self.changes.rows
        for arrival, event, definition in admitted:
            action_id = event.action_id
            row = rows.get(action_id)
            try:
                if isinstance(event, Outcome):
                    changed = self._put_outcome(arrival, event, row)
                elif isinstance(event, Erasure):
                    changed = self._erase(event, row)
                elif definition is None:
                    raise StateError(f"{type(event).__name__} was admitted without its policy")
                else:
                    changed = self._put_decision(arrival, event, definition, next(of_decisions), row)
            except RecordError as error:
                self.refuse(arrival, error)
                continue
            if changed is None:
                continue
            rows[action_id] = changed_rows[action_id] = changed
            # What is new of a decision moves its stream's time, and nothing else does: not what is refused, repeated or
            # waited for by nobody.
            if changed.raw:
                self._hear(arrival, event.occurred_at_ms if isinstance(event, Outcome) else event.decided_at_ms)

    def _hear(self, arrival: Arrival, at_ms: int) -> None:
        """Let the stream's time come to that of an event, and no further than the log's own clock."""
        self.changes.is_heard = True
        marks_ms, stream = self.progress.watermarks_ms, self.stream
        if not arrival.is_stamped:
            self.progress.hear(stream, at_ms)
        elif at_ms > marks_ms[stream]:
            marks_ms[stream] = max(marks_ms[stream], min(at_ms, arrival.timestamp_ms))

    def _put_decision(
        self,
        arrival: Arrival,
        decision: Decision,
        definition: PolicyDefinition,
        context_vector: bytes | RecordError,
        row: ActionRow | None,
    ) -> ActionRow | None:
        if row is not None and row.is_erased:
            self.count("erased")
            return None
        if row is not None and row.has_decision:
            self._check_same(arrival, row)
            self.count("duplicate")
            return None
        close_ms = decision.decided_at_ms + definition.window_ms
        expires_ms = close_ms + definition.grace_ms
        if expires_ms <= self.progress.event_time_ms:
            raise InvalidRecordError(
                "too-late",
                f"decided at {decision.decided_at_ms}, so its window and grace ended at {expires_ms}; the partition's "
                f"event time is {self.progress.event_time_ms}. Replay it, or give the policy more grace",
            )
        arm, vector, undecodable = decision.arm, context_vector, ""
        if definition.candidates is not None or decision.undecodable or isinstance(vector, RecordError):
            arm, vector, undecodable = placed(decision, definition, context_vector)
            decision = decision._replace(undecodable=undecodable or decision.undecodable)
        raw = kept_record(arrival.kept, decision, definition.declared)
        if len(raw) > MAX_RECORD_BYTES:
            raise InvalidRecordError(
                "record-too-large", f"{len(raw)} bytes as it would be kept, expected at most {MAX_RECORD_BYTES}"
            )
        self.count("open")
        opened = ActionRow(
            close_ms,
            False,  # noqa: FBT003  by place: by name, a row takes half as long again
            {},
            [],
            raw,
            vector,
            decision.policy,
            decision.generation,
            decision.segment,
            arm,
            decision.decided_at_ms,
            close_ms,
            expires_ms,
            decision.propensity if definition.counts_propensities else 0.0,
            decision.is_analysis,
            undecodable,
        )
        if undecodable:
            self.progress.counts[UNDECODABLE + undecodable] += 1
        if row is not None:
            opened.stored_due_ms = row.stored_due_ms
            for outcome in row.awaiting:
                self._stop_awaiting(outcome, definition, opened)
        return opened

    def _check_same(self, arrival: Arrival, row: ActionRow) -> None:
        """Refuse a repeat with other content: somebody's mistake, where one with the same content is a duplicate."""
        if arrival.kept == row.raw:
            return
        if not is_same(read_accepted(row.raw), arrival.event):
            raise InvalidRecordError(
                "conflicting-duplicate",
                "a decision with this action_id but other content was read before and stands: give each its own",
            )

    def _stop_awaiting(self, outcome: AwaitingOutcome, definition: PolicyDefinition, row: ActionRow) -> None:
        counts = self.progress.counts
        counts["outcomes.awaiting-decision"] -= 1
        fact = OutcomeFact(outcome.kind, outcome.value, outcome.occurred_at_ms, outcome.offset)
        try:
            counts[f"outcomes.{credit(outcome.outcome_id, fact, definition, row)}"] += 1
        except RecordError as error:
            counts[f"outcomes.rejected.{error.reason}"] += 1
            self.changes.refusals.append(refused_outcome(outcome, error))

    def _erase(self, erasure: Erasure, row: ActionRow | None) -> ActionRow | None:
        """Put a tombstone in the row's place, and say in the ledger that the action is erased: each time it is asked.

        What a final contribution says stands, though there be a row: state that went back behind the ledger.
        """
        counts, event_time_ms = self.progress.counts, self.progress.event_time_ms
        counted = erasure.counted
        if row is not None and row.has_decision and (counted is None or not counted.is_final):
            counted = _held(row, definition_of(row, self.book))
            # Where it counts is what the row says: a candidate's arm is not what it counts in.
            erasure = erasure._replace(
                policy=row.policy,
                generation=row.generation,
                segment=row.segment,
                arm=row.arm,
                decided_at_ms=row.decided_at_ms,
            )
        elif counted is not None:
            check_contribution(erasure, counted, row, self.book)
        self.count("erasures")
        self.changes.rewards.append(erased_record(erasure, counted, event_time_ms))
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
        outcome_id = kept_id(outcome.outcome_id, outcome.action_id)
        fate = credit(outcome_id, fact, definition_of(row, self.book), row)
        self.count(fate)
        return row if fate == "credited" else None

    def _put_awaiting(self, arrival: Arrival, outcome: Outcome, row: ActionRow | None) -> ActionRow | None:
        due_ms = outcome.occurred_at_ms + self.limits.orphan_hold_ms
        if row is None and not is_id(outcome.action_id):  # no decision of that name is ever accepted
            raise no_id("action_id", outcome.action_id)
        awaiting = AwaitingOutcome(
            kept_id(outcome.outcome_id, outcome.action_id),
            outcome.kind,
            outcome.value,
            outcome.occurred_at_ms,
            arrival.offset,
            arrival.timestamp_ms,
            arrival.key,
            arrival.raw,
        )
        if row is None and due_ms <= self.progress.event_time_ms:
            self.count("expired-orphan")
            self.changes.refusals.append(refused_outcome(awaiting, no_decision(outcome.action_id, due_ms)))
            return None
        row = row or ActionRow()
        if any(known[:4] == awaiting[:4] for known in row.awaiting):
            self.count("duplicate")
            return None
        if row.bound_bytes > MAX_AWAITING_BYTES:
            raise too_many(f"{len(row.awaiting)} outcomes wait for one decision")
        row.awaiting.append(awaiting)
        row.due_ms = max(row.due_ms, due_ms)
        self.count("awaiting-decision")
        return row
