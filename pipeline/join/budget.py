"""How many records fit one step: their rows become one record batch of the changelog. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline.events import Decision, Erasure, Outcome
from pipeline.join.admission import VECTOR_ITEM_BYTES
from pipeline.join.changes import STEP_BYTES, Arrival
from pipeline.join.kept_record import bound_kept
from pipeline.join.row import CHARACTER_BYTES, FACTS_BYTES, ActionRow
from pipeline.policy.parsing.context import MAX_DIMENSION

_LONGEST_VECTOR = VECTOR_ITEM_BYTES * MAX_DIMENSION


def within_budget(arrivals: Sequence[Arrival], rows: Mapping[str, ActionRow]) -> Sequence[Arrival]:
    """Return the first arrivals whose rows fit one record batch of the changelog; at least one."""
    size = 0
    touched: set[str] = set()
    for index, arrival in enumerate(arrivals):
        event = arrival.event
        if isinstance(event, Decision):
            size += _decision_bytes(arrival.kept, event)
        elif isinstance(event, Outcome):
            # One that awaits its decision is kept whole.
            characters = CHARACTER_BYTES * (len(event.outcome_id) + len(event.kind))
            size += FACTS_BYTES + len(arrival.raw) + len(arrival.key or b"") + characters
        elif isinstance(event, Erasure):
            size += FACTS_BYTES + len(arrival.raw)
        else:
            continue
        if rows and (action_id := event.action_id) in rows and action_id not in touched:
            touched.add(action_id)
            size += rows[action_id].stored_bytes
        if size > STEP_BYTES and index:
            return arrivals[:index]
    return arrivals


def _decision_bytes(raw: bytes, decision: Decision) -> int:
    """Return how much longer a decision makes its row at most."""
    kept_bytes = bound_kept(raw, decision)
    vector_bytes = len(decision.context_vector) or (_LONGEST_VECTOR if decision.context else VECTOR_ITEM_BYTES)
    if decision.candidates:
        # A candidate's features stand beside the context once each, multiplied by it.
        vector_bytes *= 1 + len(decision.candidates.get(decision.arm, ()))
    return FACTS_BYTES + kept_bytes + vector_bytes
