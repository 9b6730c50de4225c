"""Whether an outcome counts for its decision. Pure."""

from __future__ import annotations

from pipeline.errors import InvalidRecordError
from pipeline.join.row import ActionRow, OutcomeFact
from pipeline.policy.definition import PolicyDefinition

# A row is written whole with each of them, and must fit one record batch of the changelog, whatever a broken producer
# sends: at worst an action of 1,000 outcomes writes 35 MB of rows and takes a second (`growth --outcomes`).
MAX_OUTCOMES = 1_000
MAX_AWAITING_BYTES = 1 << 20


def credit(outcome_id: str, fact: OutcomeFact, definition: PolicyDefinition, row: ActionRow) -> str:
    """Attach an outcome to its decision if it counts; return its fate.

    It counts by when it occurred, whenever it arrives. An id counts once: the first that can be credited, in the order
    of `outcomes`.

    Raises:
        InvalidRecordError: unknown-outcome-kind, value-not-finite, value-out-of-bounds, too-many-outcomes.
    """
    if outcome_id in row.outcomes:
        return "duplicate"
    refusal = definition.reward.refusal(fact.kind, fact.value)
    if refusal is not None:
        raise refusal
    if fact.occurred_at_ms < row.decided_at_ms:
        return "before-decision"
    if fact.occurred_at_ms > row.decided_at_ms + definition.reward.window_ms_for(fact.kind):
        return "outside-window"
    if len(row.outcomes) >= MAX_OUTCOMES:
        raise too_many(f"{MAX_OUTCOMES} outcomes of this action are credited already, as many as one may have")
    row.outcomes[outcome_id] = fact
    return "credited"


def too_many(seen: str) -> InvalidRecordError:
    """Return the refusal of what would make a row too large."""
    return InvalidRecordError("too-many-outcomes", f"{seen}: does each have an outcome_id and action_id of its own?")
