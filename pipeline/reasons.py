"""Why a record, a request or a context is of no use: a closed set, what each comes of and what mends it. Pure.

Whoever raises a `RecordError` names one of them, which a test holds, and so does the ledger of a context that gives no
vector. Commands that show a refusal say its cure, and the reference page of reasons is made of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Reason(NamedTuple):
    """One of them."""

    cause: str
    cure: str


_PRODUCER = "mend the producer; these bytes will be refused again"
_APPLY = "apply the policy file that is meant (`pipeline policy apply FILE`), then replay"
_FEATURE = "mend who sends it, or let the feature bend (docs/context.md)"

REASONS: Mapping[str, Reason] = {
    "action-id-taken": Reason(
        "the action_id of a request is a decision of another policy, or of another request",
        "leave action_id out, or give each decision its own",
    ),
    "body-too-large": Reason("a request's body is longer than a node reads", "send fewer in one batch"),
    "conflicting-duplicate": Reason(
        "a decision has the action_id of another one, with other content; the first stands",
        "give each decision an action_id of its own",
    ),
    "duplicate-arm": Reason("a request names an arm twice", "list each arm once"),
    "empty-record": Reason("the record has no value", _PRODUCER),
    "erasure-mismatch": Reason(
        "an erasure says something of its action that no decision can have counted for",
        "erase by `pipeline forget`, which writes what was counted",
    ),
    "far-future": Reason(
        "the record's time is ahead of the broker's by more than `--max-clock-skew`",
        "set the producer's clock, or its unit: times are epoch milliseconds",
    ),
    "feature-not-finite": Reason("a feature is nan or infinite", _FEATURE),
    "feature-out-of-bounds": Reason("a number is beyond its feature's declared bounds", _FEATURE),
    "killed-arm": Reason(
        "all that a request may be shown is switched off", "`pipeline policy revive`, or offer other arms"
    ),
    "missing-feature": Reason("the context lacks a field that a feature reads", _FEATURE),
    "missing-field": Reason("the record lacks a field that it must have (docs/records.md)", _PRODUCER),
    "no-decision": Reason(
        "an outcome waited for an hour of event time (`--orphan-hold`), and its decision did not come",
        "look whether the decision was sent, or was refused itself; replay after it",
    ),
    "not-decodable": Reason("the bytes are neither Avro of a known schema nor JSON", _PRODUCER),
    "out-of-range": Reason(
        "a field is beyond its bounds: an id of other characters, a negative number, a time in seconds", _PRODUCER
    ),
    "probabilities-inconsistent": Reason(
        "the probabilities are not one for each eligible arm, do not sum to 1, or say another propensity", _PRODUCER
    ),
    "propensity-out-of-range": Reason("the propensity is not above 0 and at most 1", _PRODUCER),
    "record-too-large": Reason("the record is longer than 1 MiB, an outcome than 64 KiB", "send less of a context"),
    "schema-mismatch": Reason(
        "the context vector was encoded by another feature schema than its generation's",
        "leave context_vector out, so that JOIN encodes the context; or name the generation that encoded it",
    ),
    "subject-not-accepted": Reason(
        "a request has a subject, and the node no salt to hash it with", "start the node with --subject-salt-file"
    ),
    "too-late": Reason(
        "a decision came when its window and grace were over in event time",
        "give the policy more grace; old decisions go by `pipeline backfill`",
    ),
    "too-many-outcomes": Reason(
        "an action has 1,000 credited outcomes, or a megabyte of them waits for one decision",
        "give each action its own action_id, and look what sends so many",
    ),
    "undecodable": Reason("a context gave no vector, for a reason that a later release knows", "upgrade what reads it"),
    "unexpected-record": Reason("a record of another kind lies in the topic", "send each kind to its own topic"),
    "unknown-arm": Reason("the arm is not one of the policy's", _APPLY),
    "unknown-category": Reason("a word is not among a feature's values", _FEATURE),
    "unknown-fingerprint": Reason(
        "the Avro schema, or the id in a registry's frame, is not known",
        "upgrade the workers to the release that knows it, or give them --registry; then replay",
    ),
    "unknown-generation": Reason("the policy has no such generation", _APPLY),
    "unknown-outcome-kind": Reason(
        "the policy of the decision counts no outcome of this kind",
        "correct the kind, or declare it under [[reward.outcomes]]; then replay",
    ),
    "unknown-policy": Reason("no such policy is applied", _APPLY),
    "unreadable-batch": Reason(
        "a batch of records can't be decompressed, or is torn", "send them again from the producer"
    ),
    "unreadable-context": Reason("a sound record's context is none at all: not a JSON object of fields", _FEATURE),
    "unsupported-schema": Reason("the registry's schema is Protobuf, or none that can be read", "send Avro or JSON"),
    "value-not-finite": Reason("an outcome's value is nan or infinite", _PRODUCER),
    "value-out-of-bounds": Reason(
        "an outcome's value is beyond value_low and value_high of its kind",
        "mend the producer, or widen the bounds in a new generation; then replay",
    ),
    "wrong-feature-type": Reason("a field of the context is of another type than its feature", _FEATURE),
    "wrong-type": Reason("a field is of another type than the schema says (docs/records.md)", _PRODUCER),
}


def cure_of(reason: str) -> str:
    """Say what mends a reason; nothing of one that another release gave."""
    return REASONS[reason].cure if reason in REASONS else ""
