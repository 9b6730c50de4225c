"""What JOIN keeps of a decision, in its row and in the ledger: what its policy declares, and nobody's name. Pure.

Whose a decision is, is said in `decisions` alone, which ages out; what JOIN keeps and hands on never says it. Nor does
it keep what a producer added of its own: fields of a context or of candidates that the policy does not declare.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.codec.avro import MARKER
from pipeline.codec.decision_writer import encode_decision
from pipeline.errors import RecordError
from pipeline.events import NO_CANDIDATES, Decision, Event
from pipeline.policy.declared import DeclaredFields

_AVRO = MARKER[:1]
_DEFAULTS_BYTES = 64
"""Of fields that JSON leaves out, and the schema's fingerprint."""
_NUMBER_BYTES = 8
"""Of a number that may be one digit in JSON."""


def kept_record(raw: bytes, decision: Decision, declared: DeclaredFields) -> bytes:
    """Return the record as it came, or where something is left out of it, written again in Avro."""
    candidates = decision.candidates
    if decision.subject_hash is None and not decision.undecodable and declared.keeps_all(decision.context, candidates):
        return raw
    return encode_decision(
        decision._replace(
            subject_hash=None,
            context=declared.kept(decision.context),
            candidates=declared.kept_of(candidates) if candidates else NO_CANDIDATES,
        )
    )


def bound_kept(raw: bytes, decision: Decision) -> int:
    """Return how long the record may be that `kept_record` gives."""
    if raw.startswith(_AVRO):
        return len(raw)
    numbers = len(decision.probabilities) + len(decision.context)
    if decision.candidates:
        numbers += sum(map(len, decision.candidates.values()))
    return len(raw) + _DEFAULTS_BYTES + _NUMBER_BYTES * numbers


def is_same(known: Event, other: Event | RecordError) -> bool:
    """Whether two decisions are one, whoever's they are, and whatever of their fields was kept."""
    if not (isinstance(known, Decision) and isinstance(other, Decision)):
        return False
    ours, theirs = _common(known.context, other.context)
    arms = known.candidates.keys() & other.candidates.keys()
    pairs = [_common(known.candidates[arm], other.candidates[arm]) for arm in arms]
    vectors = known.context_vector, other.context_vector
    is_one = _nameless(known) == _nameless(other) and (vectors[0] == vectors[1] or bool(known.undecodable))
    return is_one and ours == theirs and all(a == b for a, b in pairs)


def _nameless(decision: Decision) -> Decision:
    # JOIN says in what it keeps why a context gave no vector, and leaves out what is none.
    return decision._replace(
        subject_hash=None, context={}, context_vector=b"", candidates=NO_CANDIDATES, undecodable=""
    )


def _common(known: Mapping[str, Any], other: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    names = known.keys() & other.keys()
    return {name: _comparable(known[name]) for name in names}, {name: _comparable(other[name]) for name in names}


def _comparable(value: Any) -> Any:
    return "nan" if value != value else value  # noqa: PLR0124  it is itself, read again
