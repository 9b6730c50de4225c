"""A recount from the ledger: folded again, its credits weighed by another definition. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Mapping, Sequence

from pipeline.codec import avro
from pipeline.codec.readable import PassOver, readable, refuse
from pipeline.codec.revisions import Fields, is_increment, made_whole
from pipeline.learn.ledger import LedgerRecord
from pipeline.learn.memory import NEVER_MS, FoldState, counted_from_bytes, fold_state_from_bytes
from pipeline.policy.reward import Credit
from pipeline.policy.tallies import tallies_of
from pipeline.replay.recounting.decision_shown import shown_by
from pipeline.replay.recounting.fold import folded, is_counted, record_of
from pipeline.replay.recounting.plan import ReplayPlan
from pipeline.replay.recounting.rows import (
    COUNTED,
    STATE,
    STEP_OFFSETS,
    TOLD,
    Raw,
    ReplayRows,
    StillOpen,
    state_bytes,
    stored_state,
)

REWARDS = "rewards"


class LedgerRecount:
    """The ledger folded again, its credits weighed by another definition."""

    def __init__(
        self,
        plan: ReplayPlan,
        rows: ReplayRows,
        start: Mapping[str, int],
        number: int = 0,
        pass_over: PassOver = refuse,
    ) -> None:
        self.rows = rows
        self._plan = plan
        self._number, self._pass_over = number, pass_over
        stored = stored_state(rows)
        self.finished, _, fold = stored or (0, "", "")
        self._fold = fold_state_from_bytes(fold.encode()) if stored else FoldState(start[REWARDS])

    @property
    def loaded(self) -> Counter[str]:
        """Nothing: the ledger has no history but its own."""
        return Counter()

    @property
    def positions(self) -> Mapping[str, int]:
        """Next offset to read, by topic."""
        return {REWARDS: self._fold.position}

    def next_topic(self, end: Mapping[str, int]) -> str | None:
        """Return the ledger, as long as it has something to read."""
        return REWARDS if self._fold.position < end[REWARDS] else None

    def take(
        self, topic: str, records: Sequence[Raw], reached: int | None, unstamped: Container[int] = frozenset()
    ) -> None:
        """Fold a step's records."""
        del topic, unstamped  # it reads but one, which says itself what time it is
        pairs = ((offset, value) for offset, _, _, value in records)
        rewards = readable(self._number, pairs, "reward", pass_over=self._pass_over)
        ours = [(offset, fields) for offset, _, fields in rewards if is_counted(fields, self._plan)]
        told = self._told([fields["action_id"] for _, fields in ours])
        before_ms, weighed = self._fold.watermark_ms, []
        for offset, fields in ours:
            action_id = fields["action_id"]
            if is_increment(fields) and action_id not in told and fields["expires_at_ms"] < before_ms:
                continue  # a repeat of what is over
            whole = made_whole(fields, told.get(action_id))
            if not fields["is_erased"]:
                told[action_id] = whole
            weighed.append(self._weigh(offset, whole))
        rows = folded([record for record in weighed if record], self._fold, self.rows, self._plan)
        if records:
            self._fold.position = max(self._fold.position, records[-1][0] + 1)
        if reached is not None:
            self._fold.position = reached
        over = self.rows.due(self._fold.watermark_ms - 1, STEP_OFFSETS)
        told = self._told([row_id.decode() for _, row_id in over]) | told
        rows |= {TOLD + action_id.encode(): avro.encode("reward", fields) for action_id, fields in told.items()}
        due = [(fields["expires_at_ms"], action_id.encode(), True) for action_id, fields in told.items()]
        for due_ms, row_id in over:
            due.append((due_ms, row_id, False))
            # An id that came again is over at another time.
            if (row := told.get(row_id.decode())) is not None and row["expires_at_ms"] == due_ms:
                rows[TOLD + row_id] = None
        rows[STATE] = state_bytes(self.finished, b"", self._fold)
        self.rows.write(rows, due)

    def let_time_pass(self, end: Mapping[str, int]) -> None:
        """Do nothing: the ledger says itself what time it is."""

    def finish(self) -> None:
        """Note that a cut has been come to."""
        self.finished += 1
        self.rows.write({STATE: state_bytes(self.finished, b"", self._fold)}, ())

    def event_time_ms(self) -> int:
        """Return the highest event time on the ledger."""
        return self._fold.watermark_ms

    def still_open(self) -> StillOpen:
        """Count the actions that a later record may revise."""
        counted = (counted_from_bytes(stored) for _, stored in self.rows.scan(COUNTED))
        expiries = [one.expires_at_ms for one in counted if self._fold.watermark_ms <= one.expires_at_ms < NEVER_MS]
        return StillOpen(len(expiries), max(expiries, default=0))

    def _told(self, action_ids: Sequence[str]) -> dict[str, Fields]:
        """Return the last record of each action that is not over, whole."""
        ids = list(dict.fromkeys(action_ids))
        stored = self.rows.get_many([TOLD + action_id.encode() for action_id in ids])
        return {
            action_id: avro.decode_as("reward", value)
            for action_id, value in zip(ids, stored, strict=True)
            if value is not None
        }

    def _weigh(self, offset: int, fields: Fields) -> LedgerRecord | None:
        """Say what an action has earned under the plan's definition; None: it does not count yet.

        LEARN's watermark is moved by every policy's records. It only says which repeats are too old to matter, and what
        they repeat is remembered here.
        """
        definition = self._plan.definition
        record = record_of(offset, fields, self._plan)
        if record.is_erased or record.is_undecodable:
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
