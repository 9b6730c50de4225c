"""The records that producers send, and what makes one acceptable.

Field meanings stand in `schemas/*.avsc`. A record that breaks its schema raises `InvalidRecordError` with
one of a closed set of reasons; what depends on the policy is checked in JOIN (`join/admission.py`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any, NamedTuple

from pipeline.errors import InvalidRecordError

# A key must fit in any store's row key, with room for a prefix.
MAX_ID_CHARACTERS = 256
ID = re.compile(r"[!-?A-~]{1,256}")
"""An id of a decision, an arm or a snapshot: printable ASCII without spaces and @, so that no address is one."""
ID_RULE = "1 to 256 printable ASCII characters without spaces and @"
# How far a probability vector's sum may be from 1: a float64 sum over 10,000 arms is within 1e-12;
# producers that round to six digits are within 1e-6 per arm.
PROBABILITY_SUM_TOLERANCE = 1e-3
# 9999-12-31: what a wrong unit (micro- or nanoseconds) exceeds.
MAX_TIME_MS = 253_402_300_799_999
MAX_CLOCK_SKEW_MS = 300_000
"""How far an event may be ahead of the timestamp of its record, unless an operator says otherwise."""
# Twenty years, longer than any window: in 2001 seconds already were the milliseconds of a fortnight in 1970.
MAX_AGE_MS = 20 * 365 * 86_400_000
SECONDS_FROM = 100_000_000
"""March 1973 in seconds: what is below is not a time in seconds either."""
MILLISECONDS_FROM = 100_000_000_000
"""March 1973 in milliseconds, the year 5138 in seconds: what is below is not in milliseconds, whoever stamped it."""
REASONS = frozenset({"policy", "fallback", "holdout"})
UNREADABLE_CONTEXT = "unreadable-context"
"""Of a record that is sound but for its context, which is none at all."""
SCHEMA_MISMATCH = "schema-mismatch"
"""Of a context vector that the policy's features did not make."""
UNDECODABLE = "undecodable"
"""Of a context of which a later release says why, in a word that this one does not know."""
UNDECODABLE_REASONS = frozenset(
    {
        "missing-feature",
        "wrong-feature-type",
        "feature-not-finite",
        "feature-out-of-bounds",
        "unknown-category",
        SCHEMA_MISMATCH,
        UNREADABLE_CONTEXT,
        UNDECODABLE,
    }
)
"""Why a context gives no vector. A closed set: it is kept for ever, so it must name nobody."""


NO_CANDIDATES: Mapping[str, Mapping[str, float]] = {}


NO_CLOCK_MS = -1
"""Of a tick that does not tell what its writer's clock says."""


class Decision(NamedTuple):
    """One arm shown; see `schemas/decision.avsc`."""

    action_id: str
    policy: str
    generation: int
    segment: str
    arm: str
    propensity: float
    eligible: Sequence[str]
    probabilities: Sequence[float]
    context: Mapping[str, Any]
    context_vector: bytes
    schema_hash: str
    decided_at_ms: int
    snapshot_version: int
    snapshot_id: str
    subject_hash: str | None
    reason: str
    guardrails: Sequence[str] = ()
    candidates: Mapping[str, Mapping[str, float]] = NO_CANDIDATES
    is_analysis: bool = False
    undecodable: str = ""


class Outcome(NamedTuple):
    """Something that came of a decision; see `schemas/outcome.avsc`."""

    outcome_id: str
    action_id: str
    kind: str
    value: float
    occurred_at_ms: int


class Tick(NamedTuple):
    """Event time moves to `event_time_ms` though nothing happened; see `schemas/tick.avsc`."""

    event_time_ms: int
    clock_ms: int = NO_CLOCK_MS


class Contribution(NamedTuple):
    """What an action counts for, by its latest ledger record; see `schemas/erasure.avsc`."""

    reward: int
    reward_exponent: int
    context_vector: bytes
    bucket: int
    expires_at_ms: int
    attribution: str
    is_final: bool


class Erasure(NamedTuple):
    """A decision that is to be forgotten; see `schemas/erasure.avsc`."""

    action_id: str
    policy: str
    generation: int
    segment: str
    arm: str
    decided_at_ms: int
    counted: Contribution | None
    tallies: Sequence[Mapping[str, Any]] = ()


Event = Decision | Outcome | Tick | Erasure


def decision_from(fields: Mapping[str, Any]) -> Decision:
    """Check a decoded decision. A context that is none makes it undecodable, and no less a decision.

    Raises:
        InvalidRecordError: missing-field, wrong-type, out-of-range.
    """
    context, context_vector, undecodable = _context(fields)
    eligible = _strings(fields, "eligible")
    probabilities = _numbers(fields, "probabilities")
    propensity = _finite(fields, "propensity")
    arm = _identifier(fields, "arm")
    if not 0.0 < propensity <= 1.0:
        raise InvalidRecordError("propensity-out-of-range", f"propensity is {propensity!r}, expected in (0, 1]")
    if probabilities:
        check_probabilities(eligible, probabilities, arm, propensity)
    reason = fields.get("reason", "policy")
    if not isinstance(reason, str) or reason not in REASONS:
        raise InvalidRecordError("out-of-range", f"reason is {_shown(reason)}, expected one of {sorted(REASONS)}")
    subject_hash = fields.get("subject_hash")
    if subject_hash is not None and not isinstance(subject_hash, str):
        raise _wrong_type("subject_hash", subject_hash, "a string or null")
    return Decision(
        action_id=_identifier(fields, "action_id"),
        policy=_identifier(fields, "policy"),
        generation=_integer(fields, "generation", 1),
        segment=_identifier(fields, "segment"),
        arm=arm,
        propensity=propensity,
        eligible=eligible,
        probabilities=probabilities,
        context=context,
        context_vector=context_vector,
        schema_hash=_typed(fields, "schema_hash", str, ""),
        decided_at_ms=_time_ms(fields, "decided_at_ms"),
        snapshot_version=_integer(fields, "snapshot_version", 0),
        snapshot_id=_typed(fields, "snapshot_id", str, ""),
        subject_hash=subject_hash,
        reason=reason,
        guardrails=tuple(_strings(fields, "guardrails")),
        candidates=_candidates(fields),
        is_analysis=_typed(fields, "is_analysis", bool, False),  # noqa: FBT003  its default
        undecodable=undecodable,
    )


def outcome_from(fields: Mapping[str, Any]) -> Outcome:
    """Check a decoded outcome.

    Raises:
        InvalidRecordError: missing-field, wrong-type, out-of-range, value-not-finite.
    """
    value = fields.get("value", 1.0)
    if type(value) is not float and type(value) is not int:
        raise _wrong_type("value", value, "a number")
    if not isfinite(value):
        raise InvalidRecordError("value-not-finite", f"value is {value!r}, expected a finite number")
    return Outcome(
        outcome_id=_identifier(fields, "outcome_id"),
        action_id=_identifier(fields, "action_id"),
        kind=_identifier(fields, "kind"),
        value=float(value),
        occurred_at_ms=_time_ms(fields, "occurred_at_ms"),
    )


def tick_from(fields: Mapping[str, Any]) -> Tick:
    """Check a decoded tick."""
    clock_ms = fields.get("clock_ms", NO_CLOCK_MS)
    return Tick(
        _time_ms(fields, "event_time_ms"), NO_CLOCK_MS if clock_ms == NO_CLOCK_MS else _time_ms(fields, "clock_ms")
    )


def erasure_from(fields: Mapping[str, Any]) -> Erasure:
    """Check a decoded erasure.

    Raises:
        InvalidRecordError: missing-field, wrong-type, out-of-range.
    """
    counted = fields.get("counted")
    return Erasure(
        action_id=_identifier(fields, "action_id"),
        policy=_identifier(fields, "policy"),
        generation=_integer(fields, "generation", 1),
        segment=_identifier(fields, "segment"),
        arm=_identifier(fields, "arm"),
        decided_at_ms=_time_ms(fields, "decided_at_ms"),
        counted=None if counted is None else Contribution(**counted),
        tallies=fields.get("tallies", ()),
    )


def _wrong_type(name: str, seen: object, expected: str) -> InvalidRecordError:
    return InvalidRecordError("wrong-type", f"{name} is {_shown(seen)} ({type(seen).__name__}), expected {expected}")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _required(fields: Mapping[str, Any], name: str) -> Any:
    try:
        return fields[name]
    except KeyError:
        raise InvalidRecordError("missing-field", f"{name} is missing; fields seen: {sorted(fields)}") from None


def _typed(fields: Mapping[str, Any], name: str, kind: type, default: Any) -> Any:
    value = fields.get(name, default)
    if not isinstance(value, kind):
        raise _wrong_type(name, value, kind.__name__)
    return value


def _identifier(fields: Mapping[str, Any], name: str) -> str:
    value = _required(fields, name)
    if type(value) is not str:
        raise _wrong_type(name, value, "a string")
    if not 0 < len(value) <= MAX_ID_CHARACTERS:
        raise InvalidRecordError(
            "out-of-range", f"{name} has {len(value)} characters, expected 1 to {MAX_ID_CHARACTERS}"
        )
    return value


def _integer(fields: Mapping[str, Any], name: str, default: int) -> int:
    value = fields.get(name, default)
    if type(value) is not int:
        raise _wrong_type(name, value, "an integer")
    if not 0 <= value < 2**63:
        raise InvalidRecordError("out-of-range", f"{name} is {value}, expected 0 or more, below 2^63")
    return value


def _time_ms(fields: Mapping[str, Any], name: str) -> int:
    value = _required(fields, name)
    if type(value) is not int:
        raise _wrong_type(name, value, "integer epoch milliseconds")
    if not 0 <= value <= MAX_TIME_MS:
        raise InvalidRecordError("out-of-range", f"{name} is {value}, expected epoch milliseconds up to {MAX_TIME_MS}")
    return value


def _finite(fields: Mapping[str, Any], name: str) -> float:
    value = _required(fields, name)
    if type(value) is not float and type(value) is not int:
        raise _wrong_type(name, value, "a number")
    if not isfinite(value):
        raise InvalidRecordError("out-of-range", f"{name} is {value!r}, expected a finite number")
    return float(value)


def _strings(fields: Mapping[str, Any], name: str) -> Sequence[str]:
    values: list[str] = _typed(fields, name, list, [])
    if not all(type(value) is str for value in values):
        raise _wrong_type(name, values, "a list of strings")
    return values


def _numbers(fields: Mapping[str, Any], name: str) -> Sequence[float]:
    values: list[float] = _typed(fields, name, list, [])
    if not all((type(value) is float or type(value) is int) and isfinite(value) for value in values):
        raise _wrong_type(name, values, "a list of finite numbers")
    return values


def _candidates(fields: Mapping[str, Any]) -> Mapping[str, Mapping[str, float]]:
    candidates: dict[str, Mapping[str, float]] = _typed(fields, "candidates", dict, {})
    for arm, features in candidates.items():
        if not isinstance(features, dict):
            raise _wrong_type(f"candidates.{arm}", features, "features by name")
        _numbers({arm: list(features.values())}, arm)
    return candidates


def _context(fields: Mapping[str, Any]) -> tuple[Mapping[str, Any], bytes, str]:
    """Return context, vector and why there is none. What can't be read is left out of what is kept."""
    context, vector = fields.get("context", {}), _vector(fields.get("context_vector", b""))
    told = _typed(fields, "undecodable", str, "")
    if vector is None or not isinstance(context, dict):
        return context if isinstance(context, dict) else {}, b"", UNREADABLE_CONTEXT
    return context, vector, told if not told or told in UNDECODABLE_REASONS else UNDECODABLE


def _vector(value: object) -> bytes | None:
    """Avro carries the encoded context as bytes, JSON as a list of integers; None: it is neither."""
    if isinstance(value, bytes):
        return None if len(value) % 2 else value
    if isinstance(value, list) and all(type(x) is int and -32767 <= x <= 32767 for x in value):
        return b"".join(x.to_bytes(2, "little", signed=True) for x in value)
    return None


def check_probabilities(eligible: Sequence[str], probabilities: Sequence[float], arm: str, propensity: float) -> None:
    """Raise InvalidRecordError probabilities-inconsistent unless a vector is one that the arm was drawn from."""
    if len(eligible) != len(probabilities):
        raise InvalidRecordError(
            "probabilities-inconsistent",
            f"{len(probabilities)} probabilities for {len(eligible)} eligible arms, expected one each",
        )
    if arm not in eligible:
        raise InvalidRecordError("probabilities-inconsistent", f"arm {arm!r} is not among the eligible {eligible}")
    total = sum(probabilities)
    if min(probabilities) < 0.0 or abs(total - 1.0) > PROBABILITY_SUM_TOLERANCE:
        raise InvalidRecordError(
            "probabilities-inconsistent", f"probabilities sum to {total!r}, expected non-negative ones summing to 1"
        )
    of_arm = probabilities[eligible.index(arm)]
    if abs(of_arm - propensity) > PROBABILITY_SUM_TOLERANCE * propensity:
        raise InvalidRecordError(
            "probabilities-inconsistent", f"propensity {propensity!r} is not the drawn arm's probability {of_arm!r}"
        )


def is_id(text: str) -> bool:
    """Whether a text can be an id that is kept for ever.

    >>> [is_id(text) for text in ("0199a3c5", "sku/7?size=M", "jane@example.org", "Jane Doe", "")]
    [True, True, False, False, False]
    """
    return ID.fullmatch(text) is not None


def no_id(name: str, seen: str) -> InvalidRecordError:
    """Return the refusal of an id that may name somebody."""
    return InvalidRecordError(
        "out-of-range", f"{name} is {_shown(seen)}, expected {ID_RULE}: it is kept for ever, so it must name nobody"
    )


def far_future(at_ms: int, timestamp_ms: int, skew_ms: int) -> InvalidRecordError:
    """Return the refusal of a record from the future: it would close everybody's windows."""
    return InvalidRecordError(
        "far-future",
        f"event time {at_ms} is {at_ms - timestamp_ms} ms ahead of its record's timestamp {timestamp_ms}, accepted are "
        f"{skew_ms}: check the producer's clock and unit (milliseconds)",
    )


def earliest_ms(timestamp_ms: int, *, is_stamped: bool) -> int:
    """Return the earliest event time that a record of that timestamp may have; below is another unit than ms."""
    return timestamp_ms - MAX_AGE_MS if is_stamped else max(timestamp_ms - MAX_AGE_MS, MILLISECONDS_FROM)


def wrong_unit(at_ms: int, timestamp_ms: int) -> InvalidRecordError:
    """Return the refusal of a time that is decades ago: nobody's window is so long, and seconds look like it."""
    likely = "looks like seconds" if SECONDS_FROM <= at_ms < MILLISECONDS_FROM else "is decades ago"
    return InvalidRecordError(
        "out-of-range",
        f"event time {at_ms} {likely}, expected epoch milliseconds, as the record's timestamp {timestamp_ms}: check "
        "the producer's unit",
    )
