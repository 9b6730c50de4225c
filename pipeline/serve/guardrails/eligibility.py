"""Arms that the policy's rules admit in a context. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline.policy.guardrails import EligibilityRule


def admitted(rules: Sequence[EligibilityRule], context: Mapping[str, object], arms: tuple[str, ...]) -> tuple[str, ...]:
    """Return the arms that every rule about them admits, in their order; none may be left."""
    refused = {arm for rule in rules if not rule.admits(context) for arm in rule.arms}
    return tuple(arm for arm in arms if arm not in refused) if refused else arms
