"""A row → its ledger record: what the decision has earned so far, absolute; of its outcomes, those that are new.

    decided   an outcome   two more   settled        a late one        revision = facts known
    whole ─── + o1 ─────── + o2, o3 ─ whole ──────── + o4
    rev 1     rev 2        rev 4      rev 5          rev 6

An increment names how many outcomes stand before its own, so whoever reads again what a crash repeated puts it where it
belongs (`codec/revisions.py`). The record that settles is whole: whoever asks what became of a decision reads that one.
"""

from __future__ import annotations

from pipeline.codec.reward import Reward, Tallies
from pipeline.codec.wire import read_accepted
from pipeline.errors import StateError
from pipeline.join.row import UNTOLD, ActionRow
from pipeline.policy.book import PolicyBook
from pipeline.policy.definition import PolicyDefinition
from pipeline.policy.reward import Credit
from pipeline.policy.samples import Drawn, is_sampled
from pipeline.policy.tallies import Shown, tallies_of


class Emitter:
    """Makes the ledger records of one step, whose rows belong to a few policies."""

    def __init__(self, book: PolicyBook) -> None:
        self._book = book
        self._policy, self._generation = "", -1
        self._definition: PolicyDefinition | None = None

    def record(self, action_id: str, row: ActionRow, stamp_ms: int) -> Reward | None:
        """Return the row's ledger record if it counts: settled, or open in a policy that settles optimistically.

        The row knows then what is told of it.
        """
        if not row.raw:
            return None
        definition = self._definition
        if definition is None or row.policy != self._policy or row.generation != self._generation:
            definition = self._definition = definition_of(row, self._book)
            self._policy, self._generation = row.policy, row.generation
        if not row.is_settled and definition.attribution.settle == "wait":
            return None
        record = _reward(action_id, row, definition, stamp_ms)
        row.told = len(row.outcomes)
        return record


def _reward(action_id: str, row: ActionRow, definition: PolicyDefinition, stamp_ms: int) -> Reward:
    reward = definition.reward.of_nothing
    credited: list[Credit] = []
    if row.outcomes:
        credited = [
            Credit(outcome_id, fact.kind, fact.value, fact.occurred_at_ms) for outcome_id, fact in row.outcomes.items()
        ]
        reward = definition.reward.combine(credited)
    is_whole = row.told == UNTOLD
    decided_at_ms = row.decided_at_ms
    tallies: Tallies = ()
    sampled = 0 if row.undecodable else definition.monitors.sample
    drawn = drawn_by(row.raw) if sampled and is_sampled(action_id, sampled) else None
    if not row.undecodable and (definition.has_tallies or drawn is not None):
        shown = Shown(decided_at_ms, row.vector, row.propensity, action_id, drawn)
        tallies = tallies_of(definition, credited, shown, is_settled=row.is_settled)
    return Reward(
        action_id,
        row.revision,
        row.is_settled,
        row.policy,
        row.generation,
        row.segment,
        row.arm,
        reward,
        definition.reward.exponent,
        row.vector,
        decided_at_ms,
        decided_at_ms // definition.bucket_ms,
        row.expires_ms,
        stamp_ms,
        definition.statistics_hash,
        credited if is_whole else credited[row.told :],
        row.told,
        row.raw if is_whole else b"",
        tallies=tallies,
        is_analysis=row.is_analysis,
        undecodable=row.undecodable,
    )


def drawn_by(raw: bytes) -> Drawn:
    """Return how a decision was drawn, by its record."""
    decision = read_accepted(raw)
    return Drawn(decision.arm, decision.eligible, decision.probabilities, decision.reason)


def definition_of(row: ActionRow, book: PolicyBook) -> PolicyDefinition:
    """Return the policy that a stored action belongs to; StateError if it is not known any more."""
    definition = book.find(row.policy, row.generation)
    if definition is None:
        raise StateError(
            f"a stored action belongs to generation {row.generation} of policy {row.policy!r}, which is not in the "
            "policies topic: restore that topic"
        )
    return definition
