"""A snapshot's definition → what its sums are read with. Pure; plain values of the canonical JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

Plain = Mapping[str, Any]
_UNITS_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
GO_BY_BOUNDS = frozenset({"auto_linear", "auto_rates"})
_LARGEST = 1 << 15
"""Of a reward on its grid."""


def milliseconds(duration: str) -> int:
    """Read a duration.

    >>> milliseconds("90s")
    90000
    """
    digits = duration.rstrip("dhms")
    return int(digits) * _UNITS_MS[duration[len(digits) :]]


def exponent_for(low: float, high: float) -> int:
    """Return the largest e with which no bound times 2^e is beyond 2^15.

    >>> exponent_for(0.0, 1.0)
    15
    """
    largest, exponent = max(abs(Fraction(low)), abs(Fraction(high))), 64
    while largest * Fraction(2) ** exponent > _LARGEST:
        exponent -= 1
    return exponent


def reward_exponent(plain: Plain) -> int:
    """Return the exponent of a policy's reward grid."""
    return exponent_for(plain["reward"]["low"], plain["reward"]["high"])


def is_corrected(plain: Plain) -> bool:
    """Whether decisions count by what has come of them by now."""
    return bool(plain["attribution"]["settle"] == "delay_corrected")


def is_weighted(plain: Plain) -> bool:
    """Whether outcome kinds are counted apart."""
    return bool(plain["reward"]["combine"] == "weighted")


def bucket_ms(plain: Plain) -> int:
    """Return the width of a bucket."""
    return milliseconds(plain["statistics"]["bucket"])


def hashed_parts(plain: Plain) -> dict[str, Any]:
    """Return what, beside the sums, `posterior_sha256` is taken over."""
    algorithm = dict(plain["algorithm"])
    name = algorithm.pop("name")
    parts: dict[str, Any] = {
        "algorithm": [name, sorted([key, float(value)] for key, value in algorithm.items())],
        "reward_exponent": reward_exponent(plain),
    }
    arms = [_arm(plain, arm) for arm in sorted(plain["arms"], key=lambda arm: str(arm["name"]))]
    if arms := [arm for arm in arms if arm[1] or arm[2]]:
        parts["arms"] = arms
    if name in GO_BY_BOUNDS:
        parts["bounds"] = [float(plain["reward"][key]) for key in ("low", "high")]
    if forgetting := plain.get("forgetting"):
        durations = [milliseconds(forgetting[key]) if key in forgetting else None for key in ("half_life", "window")]
        parts["forgetting"] = [*durations, bucket_ms(plain)]
    if "candidates" in plain:
        parts["candidates"] = plain["candidates"]["features"]
    if is_weighted(plain):
        parts["kinds"] = [_kind(plain, rule) for rule in _rules(plain)]
    return parts


def has_tallies(plain: Plain) -> bool:
    """Whether what is counted beside the sums is hashed."""
    beside = {"contexts", "propensities", "groups"} & plain["statistics"].keys()
    return bool(beside) or is_weighted(plain) or is_corrected(plain)


def delay_kinds(plain: Plain) -> list[list[Any]]:
    """Return what delays are corrected by: kind, typical worth and window of each."""
    return [[rule["kind"], _typical_worth(rule), milliseconds(rule["window"])] for rule in _rules(plain)]


def prior_of(plain: Plain, arm: str) -> tuple[Fraction, Fraction, Fraction] | None:
    """Return mean, weight and variance of what is known of an arm beforehand."""
    for one in plain["arms"]:
        if one["name"] == arm and "prior" in one:
            mean, weight, variance = _prior(plain, one)
            return Fraction(mean), Fraction(weight), Fraction(variance)
    return None


def _rules(plain: Plain) -> list[Plain]:
    return sorted(plain["reward"]["outcomes"], key=lambda rule: str(rule["kind"]))


def _typical_worth(rule: Plain) -> float:
    worth = abs(float(rule["worth"]))
    return worth * (abs(rule["value_low"]) + abs(rule["value_high"])) / 2.0 if rule.get("times_value") else worth


def _arm(plain: Plain, arm: Plain) -> list[Any]:
    features = arm.get("features", {})
    prior = _prior(plain, arm) if "prior" in arm else None
    return [arm["name"], prior, [[name, float(features[name])] for name in sorted(features)]]


def _prior(plain: Plain, arm: Plain) -> list[float]:
    mean, low, high = (float(one) for one in (arm["prior"]["mean"], plain["reward"]["low"], plain["reward"]["high"]))
    # No reward within its bounds varies more around this mean.
    return [mean, float(arm["prior"]["weight"]), (mean - low) * (high - mean)]


def _kind(plain: Plain, rule: Plain) -> list[Any]:
    unit = Fraction(2) ** (reward_exponent(plain) + 30)
    worth = int(Fraction(rule["worth"]) * unit) / unit
    if not rule.get("times_value"):
        return [rule["kind"], float(worth), 0]
    exponent = exponent_for(min(rule["value_low"], 0.0), max(rule["value_high"], 0.0))
    return [rule["kind"], float(worth), exponent]


def read_definition(text: str) -> Plain:
    """Read the canonical JSON."""
    plain: Plain = json.loads(text)
    return plain
