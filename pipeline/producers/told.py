"""Records of a deployment → what they tell a producer, a line each. Pure.

decisions, outcomes   what came
dead-letters          what was refused, from where, and why
rewards               what was credited, to whom; the ledger is JOIN's own word for it
"""

from __future__ import annotations

from typing import NamedTuple

from pipeline.codec import avro
from pipeline.codec.framed import UNDECLARED, Registry
from pipeline.codec.wire import decode_event
from pipeline.errors import RecordError
from pipeline.events import Decision, Erasure, Outcome, Tick

DECISIONS, OUTCOMES, REWARDS, DEAD_LETTERS = "decisions", "outcomes", "rewards", "dead-letters"
TOPICS = (DECISIONS, OUTCOMES, REWARDS, DEAD_LETTERS)
SHOWN_IDS = 64
"""Characters of an id."""


class Told(NamedTuple):
    """What one record tells."""

    what: str
    """decision, outcome, refused, counted, credited, settled, erased or unreadable."""
    source: str
    """TOPIC/PARTITION/OFFSET; of a refusal, of the record that was refused."""
    action_id: str
    policy: str
    """Empty where the record doesn't say it."""
    words: str
    at_ms: int
    """Timestamp of the record."""


def told_of(
    topic: str, partition: int, offset: int, timestamp_ms: int, value: bytes | None, registry: Registry = UNDECLARED
) -> Told | None:
    """Return what a record tells; None: nothing to a producer (a tick, a mark of a replay)."""
    source = f"{topic}/{partition}/{offset}"
    try:
        if topic in (DECISIONS, OUTCOMES):
            return _event(source, timestamp_ms, value, "decision" if topic == DECISIONS else "outcome", registry)
        if topic == REWARDS:
            return _reward(source, timestamp_ms, value)
        return _letter(timestamp_ms, value)
    except RecordError as error:
        return Told("unreadable", source, "", "", f"{error.reason}: {error.detail}", timestamp_ms)


def line(told: Told) -> str:
    """Return a line for people.

    >>> line(Told("refused", "outcomes/0/7", "", "", "unknown-policy: hompage", 0))
    'refused    outcomes/0/7: unknown-policy: hompage'
    """
    who = told.source if told.what in {"refused", "unreadable"} else told.action_id[:SHOWN_IDS]
    return f"{told.what:10} {who}: {told.words}"


def _event(source: str, at_ms: int, value: bytes | None, expected: str, registry: Registry) -> Told | None:
    event = decode_event(value, expected, registry)
    if isinstance(event, Tick):
        return None
    if isinstance(event, Erasure):
        return Told("erased", source, event.action_id, event.policy, f"of {event.policy}", at_ms)
    if isinstance(event, Decision):
        words = f"{event.policy}, segment {event.segment}: arm {event.arm}, propensity {event.propensity:.4g}"
        return Told("decision", source, event.action_id, event.policy, words, at_ms)
    if isinstance(event, Outcome):
        return Told("outcome", source, event.action_id, "", f"{event.kind}, value {event.value:g}", at_ms)
    return None


def _reward(source: str, at_ms: int, value: bytes | None) -> Told | None:
    if value is None:
        return None
    fields = avro.decode_as("reward", value)
    where = f"{fields['policy']}, segment {fields['segment']}, arm {fields['arm']}"
    reward = fields["reward"] / 2 ** fields["reward_exponent"]
    kinds = [outcome["kind"] for outcome in fields["outcomes"]]
    if fields["is_erased"]:
        what, words = "erased", where
    elif fields["is_settled"]:
        what, words = "settled", f"{where}: reward {reward:g}"
    elif kinds:
        what, words = "credited", f"{where}: reward {reward:g}, by {', '.join(kinds)}"
    else:
        what, words = "counted", where
    return Told(what, source, fields["action_id"], fields["policy"], words, at_ms)


def _letter(at_ms: int, value: bytes | None) -> Told | None:
    if value is None:
        return None
    name, fields = avro.decode(value)
    if name != "dead_letter":
        return None
    source = f"{fields['source_topic']}/{fields['source_partition']}/{fields['source_offset']}"
    action_id, policy = _names(fields["raw"], fields["source_topic"])
    return Told("refused", source, action_id, policy, f"{fields['reason']}: {fields['detail']}", at_ms)


def _names(raw: bytes, topic: str) -> tuple[str, str]:
    """Return the action and the policy of a record that was refused, as far as it can be read."""
    try:
        event = decode_event(raw, "outcome" if topic == OUTCOMES else "decision")
    except RecordError:
        return "", ""
    return getattr(event, "action_id", ""), getattr(event, "policy", "")
