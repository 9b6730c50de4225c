"""How many records fit one step: their rows become one record batch of the changelog. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline.events import Decision, Erasure, Outcome
from pipeline.join.admission import VECTOR_ITEM_BYTES
from pipeline.join.changes import STEP_BYTES, Arrival
from pipeline.join.erasure import bound_without_subject
from pipeline.join.row import CHARACTER_BYTES, FACTS_BYTES, ActionRow
from pipeline.policy.parse_context import MAX_DIMENSION

_LONGEST_VECTOR = VECTOR_ITEM_BYTES * MAX_DIMENSION


def within_budget(arrivals: Sequence[Arrival], rows: Mapping[str, ActionRow]) -> Sequence[Arrival]:
    """Return the first arrivals whose rows fit one record batch of the changelog; at least one."""
    size = 0
    touched: set[str] = set()
    for index, arrival in enumerate(arrivals):
        event = arrival.event
        if isinstance(event, Decision | Outcome | Erasure):
            size += _added_bytes(arrival, event)
            action_id = event.action_id
            if action_id in rows and action_id not in touched:
                touched.add(action_id)
                size += rows[action_id].stored_bytes
            if size > STEP_BYTES and index:
                return arrivals[:index]
    return arrivals


def _added_bytes(arrival: Arrival, event: Decision | Outcome | Erasure) -> int:
    """Return how much longer a record makes its row at most."""
    size = FACTS_BYTES + len(arrival.raw)
    if isinstance(event, Outcome):
        # One that awaits its decision is kept whole, in Base64.
        whole = size + len(arrival.key or b"")
        size = whole + whole // 2 + CHARACTER_BYTES * (len(event.outcome_id) + len(event.kind))
    elif isinstance(event, Decision):
        if event.subject_hash is not None:
            size = FACTS_BYTES + bound_without_subject(arrival.raw, event)
        vector_bytes = len(event.context_vector) or (_LONGEST_VECTOR if event.context else VECTOR_ITEM_BYTES)
        # A candidate's features stand beside the context once each, multiplied by it.
        size += vector_bytes * (1 + len(event.candidates.get(event.arm, ())))
    return size
