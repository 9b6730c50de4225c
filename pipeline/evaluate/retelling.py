"""What a decision's credited outcomes are worth by other rules than they were credited by. Pure.

The ledger holds what was credited, so it can narrow and never widen: an outcome that came after its window, or that
no rule named, is not there. Where rules ask for more than those of the record kept, the reward can't be told.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.models.grid import reward_from_grid
from pipeline.policy.durations import duration_text
from pipeline.policy.reward import Credit, OutcomeRule, RewardRules


def obstacle(kept: RewardRules, asked: RewardRules) -> str | None:
    """Say what keeps rewards by the rules asked for from being told of outcomes that others credited; None: nothing."""
    if kept.counted_parts() == asked.counted_parts():
        return None
    of_kind = {rule.kind: rule for rule in kept.outcomes}
    for rule in asked.outcomes:
        before = of_kind.get(rule.kind)
        if before is None:
            return f"outcomes of kind {rule.kind} were not credited then"
        if before.window_ms < rule.window_ms:
            return (
                f"the window of {rule.kind} was {duration_text(before.window_ms)} then, asked for is "
                f"{duration_text(rule.window_ms)}"
            )
        if _refused_more(before, rule):
            return (
                f"values of {rule.kind} beyond {before.value_low!r} to {before.value_high!r} were refused then, asked "
                f"for are {rule.value_low!r} to {rule.value_high!r}"
            )
    return None


def told(fields: Mapping[str, Any], kept: RewardRules, asked: RewardRules) -> float:
    """Return the reward of a `reward` record by the rules asked for, where there is no obstacle."""
    if not asked.is_weighted and kept.counted_parts() == asked.counted_parts():
        return reward_from_grid(fields["reward"], fields["reward_exponent"])
    credited = [
        Credit(**outcome)
        for outcome in fields["outcomes"]
        if asked.refusal(outcome["kind"], outcome["value"]) is None
        and outcome["occurred_at_ms"] <= fields["decided_at_ms"] + asked.window_ms_for(outcome["kind"])
    ]
    if asked.is_weighted:
        return asked.weighted(credited)
    return reward_from_grid(asked.combine(credited), asked.exponent)


def _refused_more(before: OutcomeRule, rule: OutcomeRule) -> bool:
    if before.value_low is None or before.value_high is None:
        return False
    if rule.value_low is None or rule.value_high is None:
        return True
    return rule.value_low < before.value_low or rule.value_high > before.value_high
