"""What the reward's grid does to what a policy file declares: where it changes them by more than a hundredth.

A reward is a whole number of steps, and its bounds say how large a step is: 2^15 of them hold the larger bound. With
bounds for one order of 100,000 a step is 4, so a sale of 1.99 counts nothing and one of 2.01 counts 4. Asked of files
only: what is stored was counted by its grid, and stays what it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import ldexp

from pipeline.models.grid import REWARD_LIMIT
from pipeline.policy.reward import OutcomeRule, RewardRules

MOST = 0.01
"""The part of a worth or value that the grid may change."""
UNIT = 1.0
"""Where values reach from 0, what stands for a usual one: nobody chooses a unit that hardly ever comes."""


def grid_faults(rules: RewardRules) -> list[str]:
    """Return, for each outcome whose worth or value the grid changes by more than a hundredth, what to do about it."""
    found = []
    for rule in rules.outcomes:
        step = _step(rules, rule)
        for words, amount in _declared(rules, rule):
            counted = round(amount / step) * step
            if abs(counted - amount) > MOST * abs(amount):
                found.append(f"reward.outcomes: {words} counts as {counted:.6g}, {_why(rules, step)}")
                break
    return found


def grid_doubts(rules: RewardRules) -> list[str]:
    """Return what of the values between the declared ones the grid changes by more than a hundredth."""
    found = []
    for rule in rules.outcomes:
        low, high = rule.value_low, rule.value_high
        if low is None or high is None or not rule.worth:
            continue
        step, worth = _step(rules, rule), 1.0 if rules.is_weighted else abs(rule.worth)
        coarse = step / 2.0 / MOST / worth
        if low <= 0.0 <= high and coarse > UNIT:
            found.append(
                f"values of {rule.kind} below {coarse:.4g} are changed by more than 1 %, those below "
                f"{step / 2.0 / worth:.4g} count nothing: {_why(rules, step)}"
            )
    return found


def _step(rules: RewardRules, rule: OutcomeRule) -> float:
    """Return the step that the outcome is counted in: of kinds counted apart, that of its own amounts."""
    return ldexp(1.0, -(rule.amount_exponent if rules.is_weighted else rules.exponent))


def _declared(rules: RewardRules, rule: OutcomeRule) -> Iterator[tuple[str, float]]:
    """Yield, in words and number, what an outcome is worth: of one with values, at their ends and at one unit."""
    low, high = rule.value_low, rule.value_high
    if low is None or high is None:
        if not rules.is_weighted:
            yield f"worth {rule.worth!r} of {rule.kind}", rule.worth
        return
    worth = 1.0 if rules.is_weighted else rule.worth
    inside = [unit for unit in (UNIT, -UNIT) if low < unit < high]
    for value in (low, high, *inside):
        yield f"a value {value!r} of {rule.kind}, worth {worth * value:.6g},", worth * value


def _why(rules: RewardRules, step: float) -> str:
    return (
        f"in steps of {step:.6g}: low {rules.low!r} and high {rules.high!r} are to fit into {REWARD_LIMIT:,} of them. "
        "Bring the bounds nearer (what lies beyond counts as the bound), or write the step that you need as "
        "`resolution` instead of high"
    )
