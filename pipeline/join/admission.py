"""Which decisions JOIN accepts, given the policies it knows; whatever is refused has one of a closed set of reasons.

No decision is refused for its context: an arm was shown, by a propensity that is known. One that gives no vector is
told in the ledger with the reason why, and only what needs the vector passes over it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from pipeline.errors import InvalidRecordError, RecordError
from pipeline.events import SCHEMA_MISMATCH, Decision, Event, Outcome, Tick, is_id, no_id
from pipeline.join.progress import NOT_YET_MS
from pipeline.policy.book import PolicyBook
from pipeline.policy.candidates import CANDIDATES, candidate_vector, features_within
from pipeline.policy.definition import PolicyDefinition

VECTOR_ITEM_BYTES = 2
# A producer may use segments that the policy's rules don't name, but they are names all the same.
SEGMENT_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")


def check_ids(decision: Decision, definition: PolicyDefinition) -> None:
    """Refuse ids and names that may name somebody: they are kept for ever. out-of-range."""
    if not is_id(decision.action_id):
        raise no_id("action_id", decision.action_id)
    if not _are_ids(decision.snapshot_id, decision.schema_hash, tuple(decision.guardrails)):
        raise no_id(
            "one of snapshot_id, schema_hash and guardrails",
            " ".join((decision.snapshot_id, decision.schema_hash, *decision.guardrails)),
        )
    if decision.candidates or not definition.arm_set.issuperset(decision.eligible):
        for arm in (*decision.eligible, *decision.candidates):
            if not is_id(arm):
                raise no_id("an arm of `eligible` or `candidates`", arm)


@lru_cache(4_096)
def _are_ids(snapshot_id: str, schema_hash: str, guardrails: tuple[str, ...]) -> bool:
    return all(is_id(text) for text in (snapshot_id or "-", schema_hash or "-", *guardrails))


def admit(decision: Decision, book: PolicyBook) -> PolicyDefinition:
    """Return the definition that the decision was made under.

    Raises:
        InvalidRecordError: unknown-policy, unknown-generation, unknown-arm, out-of-range.
    """
    definition = known_definition(decision.policy, decision.generation, book)
    if decision.arm not in definition.arm_set and not is_candidate(decision, definition):
        raise InvalidRecordError(
            "unknown-arm",
            f"arm {decision.arm!r} is not one of policy {decision.policy!r} ({len(definition.arm_names)} arms); "
            "add it to the policy file and apply it: pipeline policy apply FILE"
            + ("; or log the features of a candidate in `candidates`" if definition.candidates else ""),
        )
    if not SEGMENT_NAME.fullmatch(decision.segment):
        raise InvalidRecordError(
            "out-of-range", f"segment is {decision.segment[:80]!r}, expected a name that matches {SEGMENT_NAME.pattern}"
        )
    return definition


def known_definition(policy: str, generation: int, book: PolicyBook) -> PolicyDefinition:
    """Return a policy generation's definition.

    Raises:
        InvalidRecordError: unknown-policy, unknown-generation.
    """
    definition = book.find(policy, generation)
    if definition is not None:
        return definition
    latest = book.latest(policy)
    if latest is None:
        known = ", ".join(d.name for d in book) or "none"
        raise InvalidRecordError(
            "unknown-policy",
            f"policy {policy!r} is unknown; known: {known}. Apply it first: pipeline policy apply FILE",
        )
    raise InvalidRecordError(
        "unknown-generation", f"generation {generation} of {policy!r} is unknown; the latest is {latest.generation}"
    )


def encode_missing(
    admitted: Sequence[tuple[Decision, PolicyDefinition]],
) -> list[bytes | RecordError]:
    """Return each decision's context vector: as logged, or encoded now where the producer sent raw context only.

    Of what is known to be undecodable there is none.
    """
    vectors: list[bytes | RecordError] = [
        b"" if decision.undecodable else decision.context_vector for decision, _ in admitted
    ]
    missing: dict[str, list[int]] = {}
    definitions: dict[str, PolicyDefinition] = {}
    for index, (decision, definition) in enumerate(admitted):
        if definition.dimension and not decision.context_vector and not decision.undecodable:
            missing.setdefault(definition.schema_hash, []).append(index)
            definitions[definition.schema_hash] = definition
    for schema_hash, indices in missing.items():
        features = definitions[schema_hash].features
        decisions = [admitted[index][0] for index in indices]
        encoded, refusals = features.encode_at(
            [decision.context for decision in decisions], (decision.decided_at_ms for decision in decisions)
        )
        width, whole = VECTOR_ITEM_BYTES * encoded.shape[1], encoded.astype("<i2").tobytes()
        for row, (index, refusal) in enumerate(zip(indices, refusals, strict=True)):
            vectors[index] = whole[row * width : (row + 1) * width] if refusal is None else refusal
    return vectors


def is_candidate(decision: Decision, definition: PolicyDefinition) -> bool:
    """Whether the arm is one that came with the request, in a policy that has such."""
    return (
        definition.candidates is not None
        and decision.arm in decision.candidates
        and decision.arm not in definition.arm_set
    )


class Placed(NamedTuple):
    """Where a decision counts, and with what."""

    arm: str
    """Whose statistics."""
    vector: bytes
    """What is summed there: φ of a candidate."""
    undecodable: str = ""
    """Why there is no such vector; empty: there is, or none is wanted."""


def placed(decision: Decision, definition: PolicyDefinition, vector: bytes | RecordError) -> Placed:
    """Return where a decision counts, given its context's vector or why there is none."""
    arm = CANDIDATES if is_candidate(decision, definition) else decision.arm
    why = vector.reason if isinstance(vector, RecordError) else decision.undecodable
    if why and (definition.dimension_of(arm) or why == SCHEMA_MISMATCH):
        return Placed(arm, b"", why)
    known = b"" if isinstance(vector, RecordError) else vector
    if definition.candidates is None or arm != CANDIDATES:
        return Placed(arm, known)
    try:
        features = features_within(definition.candidates.features, decision.candidates[decision.arm])
    except InvalidRecordError as error:
        return Placed(arm, b"", error.reason)
    return Placed(arm, candidate_vector(features, known))


def is_of_another_schema(decision: Decision, definition: PolicyDefinition) -> bool:
    """Whether a decision's context vector was not made by the definition's features."""
    if not decision.context_vector:
        return False
    is_other = bool(decision.schema_hash) and decision.schema_hash != definition.schema_hash
    return is_other or len(decision.context_vector) != VECTOR_ITEM_BYTES * definition.dimension


def event_time_ms(event: Event) -> int:
    """Return the time of what a record tells."""
    if isinstance(event, Decision):
        return event.decided_at_ms
    if isinstance(event, Outcome):
        return event.occurred_at_ms
    if isinstance(event, Tick):
        return event.event_time_ms
    return NOT_YET_MS  # an erasure is of the past: it moves no time
