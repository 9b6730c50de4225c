"""Records that can't be used, one of each kind, of the policies `homepage` and `linear`."""

from __future__ import annotations

import math
import time
from itertools import count
from typing import Any

import orjson

from pipeline.stream.log.topics import DECISIONS, OUTCOMES
from tests.samples import plain_decision, plain_outcome
from tests.traffic import as_avro

MAX_CLOCK_SKEW_MS = 300_000

names = (f"action-{number}" for number in count())


def now_ms() -> int:
    return round(time.time() * 1000)


def decision(**fields: Any) -> dict[str, Any]:
    return plain_decision(**{"action_id": next(names), "decided_at_ms": now_ms(), **fields})


def without(fields: dict[str, Any], name: str) -> bytes:
    return orjson.dumps({key: value for key, value in fields.items() if key != name})


# Contexts that give no vector, of decisions that are sound: (reason, bytes), made when the test runs.
UNDECODABLE = {
    "a feature that is NaN": lambda: (
        "feature-not-finite",
        as_avro(DECISIONS, decision(policy="linear", context={"x": math.nan, "y": 1.0})),
    ),
    "a feature out of its bounds": lambda: (
        "feature-out-of-bounds",
        orjson.dumps(decision(policy="linear", context={"x": 1.5, "y": 1.0})),
    ),
    "a feature that is a list": lambda: (
        "wrong-feature-type",
        orjson.dumps(decision(policy="linear", context={"x": [0.5], "y": 1.0})),
    ),
    "no context": lambda: ("missing-feature", orjson.dumps(decision(policy="linear"))),
    "a context that is a word": lambda: (
        "unreadable-context",
        orjson.dumps(decision(policy="linear", context="mobile")),
    ),
    "a context vector too long": lambda: (
        "schema-mismatch",
        orjson.dumps(decision(policy="linear", context_vector=[4096, 0, 0, 0])),
    ),
    "a context vector off the grid": lambda: (
        "unreadable-context",
        orjson.dumps(decision(policy="linear", context_vector=[40_960, 0, 0])),
    ),
    "a reason of a later release": lambda: (
        "undecodable",
        orjson.dumps(decision(policy="linear", context={"x": 0.0, "y": 1.0}, undecodable="too-quantum")),
    ),
}

# Made when the test runs: (topic, reason, bytes), of records that are refused by themselves.
ALONE = {
    "neither Avro nor JSON": lambda: (DECISIONS, "not-decodable", b"\x8f\x00 nonsense"),
    "an outcome that is neither Avro nor JSON": lambda: (OUTCOMES, "not-decodable", b"<xml/>"),
    "no value": lambda: (DECISIONS, "empty-record", None),
    "an unknown schema": lambda: (DECISIONS, "unknown-fingerprint", b"\xc3\x01unknown!body"),
    "an unknown registry id": lambda: (OUTCOMES, "unknown-fingerprint", b"\x00\x00\x00\x00\x07body"),
    "a cut Avro record": lambda: (DECISIONS, "not-decodable", as_avro(DECISIONS, decision())[:-1]),
    "an outcome among decisions": lambda: (DECISIONS, "unexpected-record", as_avro(OUTCOMES, plain_outcome(value=1.0))),
    "a missing field": lambda: (DECISIONS, "missing-field", without(decision(), "segment")),
    "a missing field of an outcome": lambda: (OUTCOMES, "missing-field", without(plain_outcome(), "occurred_at_ms")),
    "a wrong type": lambda: (DECISIONS, "wrong-type", orjson.dumps(decision(arm=7))),
    "a time in words": lambda: (OUTCOMES, "wrong-type", orjson.dumps(plain_outcome(occurred_at_ms="today"))),
    "a propensity of 0": lambda: (DECISIONS, "propensity-out-of-range", orjson.dumps(decision(propensity=0))),
    "a propensity above 1": lambda: (DECISIONS, "propensity-out-of-range", orjson.dumps(decision(propensity=1.5))),
    "an unknown policy": lambda: (DECISIONS, "unknown-policy", orjson.dumps(decision(policy="checkout"))),
    "an unknown generation": lambda: (DECISIONS, "unknown-generation", orjson.dumps(decision(generation=2))),
    "an unknown arm": lambda: (DECISIONS, "unknown-arm", orjson.dumps(decision(arm="c"))),
    "a value that is not finite": lambda: (
        OUTCOMES,
        "value-not-finite",
        as_avro(OUTCOMES, plain_outcome(value=math.inf)),
    ),
    "a decision in the far future": lambda: (
        DECISIONS,
        "far-future",
        orjson.dumps(decision(decided_at_ms=now_ms() + 2 * MAX_CLOCK_SKEW_MS)),
    ),
    "a time in microseconds": lambda: (
        DECISIONS,
        "out-of-range",
        orjson.dumps(decision(decided_at_ms=now_ms() * 1_000)),
    ),
    "two megabytes": lambda: (
        DECISIONS,
        "record-too-large",
        orjson.dumps(decision(context={"text": "x" * 2_000_000})),
    ),
}
