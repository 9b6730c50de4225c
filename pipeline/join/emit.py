"""A row → its ledger record: what the decision has earned so far, absolute."""

from __future__ import annotations

from typing import Any

from pipeline.errors import StateError
from pipeline.join.row import ActionRow
from pipeline.policy.book import PolicyBook
from pipeline.policy.definition import PolicyDefinition
from pipeline.policy.reward import Credit
from pipeline.policy.tallies import Shown, has_tallies, tallies_of


def reward_record(action_id: str, row: ActionRow, stamp_ms: int, book: PolicyBook) -> dict[str, Any] | None:
    """Return the row's ledger record if it counts: settled, or open in a policy that settles optimistically."""
    if not row.raw:
        return None
    definition = definition_of(row, book)
    settle = definition.attribution.settle
    if not row.is_settled and settle == "wait":
        return None
    reward, outcomes = definition.reward.of_nothing, []
    credited: list[Credit] = []
    if row.outcomes:
        credited = [
            Credit(outcome_id, fact.kind, fact.value, fact.occurred_at_ms) for outcome_id, fact in row.outcomes.items()
        ]
        reward, outcomes = definition.reward.combine(credited), [credit._asdict() for credit in sorted(credited)]
    decided_at_ms = row.decided_at_ms
    tallies: list[dict[str, Any]] = []
    if has_tallies(definition):
        shown = Shown(decided_at_ms, row.vector, row.propensity, action_id)
        found = tallies_of(definition, credited, shown, is_settled=row.is_settled)
        tallies = [tally._asdict() for tally in found]
    return {
        "action_id": action_id,
        "revision": row.revision,
        "is_settled": row.is_settled,
        "policy": row.policy,
        "generation": row.generation,
        "segment": row.segment,
        "arm": row.arm,
        "reward": reward,
        "reward_exponent": definition.reward.exponent,
        "context_vector": row.vector,
        "decided_at_ms": decided_at_ms,
        "bucket": decided_at_ms // definition.bucket_ms,
        "expires_at_ms": row.expires_ms,
        "event_time_ms": stamp_ms,
        "attribution": definition.statistics_hash,
        "outcomes": outcomes,
        "decision": row.raw,
        "tallies": tallies,
    }


def definition_of(row: ActionRow, book: PolicyBook) -> PolicyDefinition:
    """Return the policy that a stored action belongs to; StateError if it is not known any more."""
    definition = book.find(row.policy, row.generation)
    if definition is None:
        raise StateError(
            f"a stored action belongs to generation {row.generation} of policy {row.policy!r}, which is not in the "
            "policies topic: restore that topic"
        )
    return definition
