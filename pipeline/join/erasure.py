"""What an erasure leaves of an action: a ledger record that names where it counted, and nothing of the person. Pure.

Whose a decision is, is said in `decisions` alone, which ages out; what JOIN keeps and hands on never says it.
"""

from __future__ import annotations

import orjson

from pipeline.codec import avro
from pipeline.codec.reward import Reward, tallies_in
from pipeline.errors import RecordError
from pipeline.events import Contribution, Decision, Erasure, Event

ERASED_REVISION = 1 << 62
"""Above any count of facts."""
_REWRITTEN = 4
"""How many times as long a decision may be when it is written again: JSON's 1e15 becomes 1000000000000000.0."""

_NOTHING = Contribution(0, 0, b"", 0, 0, "", is_final=False)


def erased_record(erasure: Erasure, counted: Contribution | None, event_time_ms: int) -> Reward:
    """Return the ledger record of an erased action; where nothing is known of it, a receipt that changes nothing."""
    was = counted or _NOTHING
    return Reward(
        action_id=erasure.action_id,
        revision=ERASED_REVISION,
        is_settled=True,
        policy=erasure.policy,
        generation=erasure.generation,
        segment=erasure.segment,
        arm=erasure.arm,
        reward=was.reward if was.is_final else 0,
        reward_exponent=was.reward_exponent,
        context_vector=was.context_vector,
        decided_at_ms=erasure.decided_at_ms,
        bucket=was.bucket,
        expires_at_ms=was.expires_at_ms,
        event_time_ms=event_time_ms,
        attribution=was.attribution,
        outcomes=(),
        decision=b"",
        is_erased=True,
        is_reward_final=was.is_final,
        tallies=tallies_in(erasure.tallies) if was.is_final else (),
    )


def without_subject(raw: bytes, decision: Decision) -> bytes:
    """Return a decision's record without the hash of its subject, in the encoding that it came in or in Avro."""
    if decision.subject_hash is None:
        return raw
    if raw[:1] in (avro.MARKER[:1], b"\0"):
        return avro.encode("decision", {**decision._asdict(), "subject_hash": None})
    fields = orjson.loads(raw)  # its context may hold what Avro does not
    del fields["subject_hash"]
    return orjson.dumps(fields)


def bound_without_subject(raw: bytes, event: Event | RecordError) -> int:
    """Return how long the record may be that `without_subject` gives."""
    is_rewritten = isinstance(event, Decision) and event.subject_hash is not None
    return _REWRITTEN * len(raw) if is_rewritten else len(raw)


def is_same(known: Event, other: Event | RecordError) -> bool:
    """Whether two decisions are one, whoever's they are."""
    return _nameless(known) == _nameless(other)


def _nameless(event: Event | RecordError) -> Event | RecordError:
    return event._replace(subject_hash=None) if isinstance(event, Decision) else event
