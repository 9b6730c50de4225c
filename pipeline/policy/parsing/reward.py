"""`[reward]` → `RewardRules`."""

from __future__ import annotations

from fractions import Fraction
from math import frexp, isnan, ldexp
from typing import cast, get_args

from pipeline.models.grid import REWARD_LIMIT
from pipeline.models.sums.objectives import columns_for
from pipeline.policy.parsing.section import Section, note_repeats
from pipeline.policy.render_value import shown
from pipeline.policy.reward import Combination, OutcomeRule, RewardRules

MAX_KINDS = 256
MAX_COLUMNS = 512
"""Of a row in which kinds are counted apart: each of a decision's may stand in its ledger record."""
SHORTEST_WINDOW = "1s"
LONGEST_WINDOW = "30d"
# Within these a reward's grid, and the float64 sum of any number of outcomes, is far from overflow and
# underflow, and any currency fits.
SMALLEST_MAGNITUDE = 1e-6
LARGEST_MAGNITUDE = 1e12


def read_reward(root: Section, dimension: int) -> RewardRules:
    """Read the bounds, the outcome kinds and how they combine; `dimension` is that of a context vector."""
    section = root.section("reward")
    fault_count = len(root.faults)
    low, high = _read_bounds(section)
    combination = cast("Combination", section.choice("combine", get_args(Combination), "max"))
    cap = _read_cap(section, combination, low, high)
    sections = section.sections("outcomes", 1, MAX_KINDS)
    outcomes = [_read_outcome(one) for one in sections]
    section.finish()
    note_repeats([(one, rule.kind) for one, rule in zip(sections, outcomes, strict=True)], "kind")
    low, high = _check_bounds(section, low, high)
    rules = RewardRules(low, high, tuple(sorted(outcomes, key=lambda rule: rule.kind)), combination, cap)
    if rules.is_weighted and len(root.faults) == fault_count:
        _check_weights(section, rules, dimension)
    return rules


def _read_bounds(section: Section) -> tuple[float, float]:
    """Read `low` and `high`, or the `resolution` that takes the place of high, or of both.

    What is stored are bounds: the largest that the step leaves room for.
    """
    if not section.has("resolution"):
        return _read_amount(section, "low"), _read_amount(section, "high")
    resolution = section.number(
        "resolution",
        expected=f"a step from {SMALLEST_MAGNITUDE} to {LARGEST_MAGNITUDE / REWARD_LIMIT:.0e}",
        accepts=lambda step: SMALLEST_MAGNITUDE <= step <= LARGEST_MAGNITUDE / REWARD_LIMIT,
    )
    if isnan(resolution):  # that is the fault; bounds beside it are none
        return (
            _read_amount(section, "low") if section.has("low") else 0.0,
            _read_amount(section, "high") if section.has("high") else 1.0,
        )
    _, exponent = frexp(resolution)
    reach = ldexp(REWARD_LIMIT, exponent - 1)  # the largest power of two that is at most the resolution
    low = _read_amount(section, "low") if section.has("low") else 0.0
    high = _read_amount(section, "high") if section.has("high") else reach
    for key, bound in (("low", low), ("high", high)):
        if abs(bound) > reach:
            section.fault(
                key,
                f"{bound!r} is beyond ±{reach:.6g}, which is as far as {REWARD_LIMIT:,} steps of resolution "
                f"{resolution!r} reach; leave it out, or write a coarser resolution",
            )
    return low, high


def _check_weights(section: Section, rules: RewardRules, dimension: int) -> None:
    """Rewards are made of what is counted when it is asked for, so they can't be clamped: none may leave the bounds."""
    least, largest = rules.reach
    if least < Fraction(rules.low) or largest > Fraction(rules.high):
        section.fault(
            "outcomes",
            f"are together worth {float(least):.6g} to {float(largest):.6g}, beyond {rules.low!r} to {rules.high!r}, "
            'and combine = "weighted" clamps nothing; scale the worths',
        )
    columns = columns_for(len(rules.outcomes), dimension)
    if columns > MAX_COLUMNS:
        section.fault(
            "outcomes",
            f"of {len(rules.outcomes)} kinds with {dimension} entries of a context vector take {columns} columns when "
            f"they are counted apart, expected at most {MAX_COLUMNS}; leave kinds or features out",
        )


def _check_bounds(section: Section, low: float, high: float) -> tuple[float, float]:
    """Return the bounds, or after a fault a pair that has a grid and suits every algorithm."""
    if low >= high:
        section.fault(
            "low", f"{shown(section.raw.get('low', low))} is not below high {shown(section.raw.get('high', high))}"
        )
    elif low > -SMALLEST_MAGNITUDE and high < SMALLEST_MAGNITUDE:
        section.fault("high", f"{high!r} is too small a scale; let low or high be {SMALLEST_MAGNITUDE} or more")
    elif low < high:
        return low, high
    return 0.0, 1.0


def _read_cap(section: Section, combination: str, low: float, high: float) -> float | None:
    if not section.has("cap"):
        return None
    cap = _read_amount(section, "cap")
    if combination not in {"sum", ""}:
        section.fault("cap", f'{shown(cap)} caps nothing with combine = "{combination}"; use "sum" or drop cap')
    if low < high and (cap <= low or cap > high):
        section.fault("cap", f"{cap!r} is not above low {low!r} and at most high {high!r}")
    return cap


def _read_outcome(section: Section) -> OutcomeRule:
    kind = section.name("kind")
    worth = _read_amount(section, "worth")
    window_ms = section.duration_ms("window", SHORTEST_WINDOW, LONGEST_WINDOW)
    times_value = section.flag("times_value", default=False)
    value_low = value_high = None
    if times_value:
        value_low = _read_amount(section, "value_low")
        value_high = _read_amount(section, "value_high")
        _check_values(section, worth, value_low, value_high)
    else:
        _refuse_values(section)
    section.finish()
    return OutcomeRule(kind, worth, window_ms, times_value, value_low, value_high)


def _check_values(section: Section, worth: float, value_low: float, value_high: float) -> None:
    if value_low >= value_high:
        section.fault("value_low", f"{value_low!r} is not below value_high {value_high!r}")
    for key, value in (("value_low", value_low), ("value_high", value_high)):
        if abs(worth * value) > LARGEST_MAGNITUDE:
            section.fault(
                key, f"{value!r} times worth {worth!r} is beyond ±{LARGEST_MAGNITUDE:.0e}; choose a larger unit"
            )


def _refuse_values(section: Section) -> None:
    for key in ("value_low", "value_high"):
        if section.has(key):
            section.fault(key, f"{shown(section.raw[key])} bounds nothing; set times_value = true or drop it")


def _read_amount(section: Section, key: str) -> float:
    return section.number(
        key,
        expected=f"a number within ±{LARGEST_MAGNITUDE:.0e}",
        accepts=lambda amount: abs(amount) <= LARGEST_MAGNITUDE,
    )
