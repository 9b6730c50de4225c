"""A policy → a decision that it accepts, and an outcome that is credited to it: something to copy from. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pipeline.errors import RecordError
from pipeline.policy.definition import PolicyDefinition
from pipeline.policy.kinds import Feature

AN_ID = "0199a3c5-example"
PLAIN = (0.5, 0, 1, 0.0, 1.0, "example", True, "2026-01-01T00:00:00Z")
"""Tried in turn for a feature of whatever kind, behind what its bounds and words say."""


def example_decision(definition: PolicyDefinition, now_ms: int, action_id: str = AN_ID) -> dict[str, Any]:
    """Return a decision as a producer would send it in JSON: the first arm, by chance, a context within all bounds."""
    context = example_context(definition)
    candidates: dict[str, dict[str, float]] = {}
    arms = list(definition.active_arms)
    if not arms and definition.candidates is not None:
        arms = ["sku-7"]
        candidates = {"sku-7": dict.fromkeys(definition.candidates.features, 0.5)}
    record: dict[str, Any] = {
        "action_id": action_id,
        "policy": definition.name,
        "generation": definition.generation,
        "segment": definition.segments.segment_for(context),
        "arm": arms[0],
        "propensity": 1 / len(arms),
        "eligible": arms,
        "probabilities": [1 / len(arms)] * len(arms),
        "context": context,
        "decided_at_ms": now_ms,
    }
    return record | ({"candidates": candidates} if candidates else {})


def example_outcome(definition: PolicyDefinition, now_ms: int, action_id: str = AN_ID) -> dict[str, Any]:
    """Return an outcome of the first kind that the policy counts, told by the same action_id."""
    rule = definition.reward.outcomes[0]
    values = (value for value in (1.0, rule.value_low, rule.value_high) if value is not None)
    value = next((one for one in values if definition.reward.refusal(rule.kind, one) is None), 1.0)
    fields = {"outcome_id": f"{action_id}-{rule.kind}", "action_id": action_id, "kind": rule.kind}
    return {**fields, "value": value, "occurred_at_ms": now_ms}


def example_context(definition: PolicyDefinition) -> dict[str, Any]:
    """Return a value within bounds for each context field that a feature reads, but for those that a clock fills."""
    filled = definition.features.filled({}, 0)
    return {each.name: _value(each) for each in definition.features.features if each.name not in filled}


def _value(feature: Feature) -> Any:
    for value in _guesses(feature):
        try:
            feature.encode(value)
        except RecordError:
            continue
        return value
    return None


def _guesses(feature: Feature) -> Iterator[Any]:
    plain = feature.to_plain()
    low, high = plain.get("low"), plain.get("high")
    if isinstance(low, int | float) and isinstance(high, int | float):
        yield (low + high) / 2
    yield from sorted(feature.texts)
    yield from PLAIN
