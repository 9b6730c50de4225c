"""A recount from the ledger: folded again, its credits weighed by another definition. Pure."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import Any

from pipeline.codec.readable import PassOver, readable, refuse
from pipeline.learn.ledger import LedgerRecord
from pipeline.learn.memory import NEVER_MS, FoldState, counted_from_bytes, fold_state_from_bytes
from pipeline.policy.reward import Credit
from pipeline.policy.tallies import tallies_of
from pipeline.replay.recounting.decision_shown import shown_by
from pipeline.replay.recounting.fold import folded, is_counted, record_of
from pipeline.replay.recounting.plan import ReplayPlan
from pipeline.replay.recounting.rows import COUNTED, STATE, Raw, ReplayRows, StillOpen, state_bytes, stored_state

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
        weighed = [self._weigh(offset, fields) for offset, _, fields in rewards]
        rows = folded([record for record in weighed if record], self._fold, self.rows, self._plan)
        if records:
            self._fold.position = max(self._fold.position, records[-1][0] + 1)
        if reached is not None:
            self._fold.position = reached
        rows[STATE] = state_bytes(self.finished, b"", self._fold)
        self.rows.write(rows, ())

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

    def _weigh(self, offset: int, fields: Mapping[str, Any]) -> LedgerRecord | None:
        """Say what an action has earned under the plan's definition; None: it does not count yet, or not here.

        LEARN's watermark is moved by every policy's records. It only says which repeats are too old to matter, and what
        they repeat is remembered here.
        """
        definition = self._plan.definition
        if not is_counted(fields, self._plan):
            return None
        record = record_of(offset, fields, self._plan)
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
