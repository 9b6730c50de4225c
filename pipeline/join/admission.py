"""Which decisions JOIN accepts, given the policies it knows; whatever is refused has one of a closed set of reasons."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from pipeline.errors import InvalidRecordError, RecordError
from pipeline.events import Decision, Event, Outcome, Tick, is_id, no_id
from pipeline.join.progress import NOT_YET_MS
from pipeline.policy.book import PolicyBook
from pipeline.policy.candidates import CANDIDATES, candidate_vector, features_within
from pipeline.policy.definition import PolicyDefinition

VECTOR_ITEM_BYTES = 2
# A producer may use segments that the policy's rules don't name, but they are names all the same.
SEGMENT_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")


def admit(decision: Decision, book: PolicyBook) -> PolicyDefinition:
    """Return the definition that the decision was made under.

    Raises:
        InvalidRecordError: unknown-policy, unknown-generation, unknown-arm, out-of-range, schema-mismatch.
    """
    definition = named_definition(decision, book)
    if decision.context_vector:
        check_vector(decision, definition)
    return definition


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


def named_definition(decision: Decision, book: PolicyBook) -> PolicyDefinition:
    """Return the definition that has the decision's policy, generation, segment and arm, which all else is not asked.

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
    """Return each decision's context vector: as logged, or encoded now where the producer sent raw context only."""
    vectors: list[bytes | RecordError] = [decision.context_vector for decision, _ in admitted]
    missing: dict[str, list[int]] = {}
    definitions: dict[str, PolicyDefinition] = {}
    for index, (decision, definition) in enumerate(admitted):
        if definition.dimension and not decision.context_vector:
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


def counted_in(decision: Decision, definition: PolicyDefinition, vector: bytes) -> tuple[str, bytes]:
    """Return the arm whose statistics the decision counts in, and what is summed there: φ of a candidate.

    Raises:
        InvalidRecordError: missing-feature, wrong-feature-type, feature-out-of-bounds.
    """
    if definition.candidates is None or decision.arm in definition.arm_set:
        return decision.arm, vector
    features = features_within(definition.candidates.features, decision.candidates[decision.arm])
    return CANDIDATES, candidate_vector(features, vector)


def check_vector(decision: Decision, definition: PolicyDefinition) -> None:
    """Refuse a context vector that was not encoded by the definition's features: schema-mismatch."""
    if decision.schema_hash and decision.schema_hash != definition.schema_hash:
        raise InvalidRecordError(
            "schema-mismatch",
            f"context_vector was encoded by schema {decision.schema_hash}, generation {definition.generation} of "
            f"{definition.name!r} has {definition.schema_hash}",
        )
    length = len(decision.context_vector) // VECTOR_ITEM_BYTES
    if length != definition.dimension:
        raise InvalidRecordError(
            "schema-mismatch",
            f"context_vector has {length} entries, policy {definition.name!r} has {definition.dimension}",
        )


def event_time_ms(event: Event) -> int:
    """Return the time of what a record tells."""
    if isinstance(event, Decision):
        return event.decided_at_ms
    if isinstance(event, Outcome):
        return event.occurred_at_ms
    if isinstance(event, Tick):
        return event.event_time_ms
    return NOT_YET_MS  # an erasure is of the past: it moves no time
