"""`[guardrails]` → `Guardrails`."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import NamedTuple

from pipeline.policy.definition import Arm, Settle
from pipeline.policy.durations import duration_text
from pipeline.policy.guardrails import Budget, EligibilityRule, ExposureCap, FrequencyCap, Guardrails, Holdout
from pipeline.policy.parsing.exploration import read_numbers
from pipeline.policy.parsing.section import Section, is_text, note_repeats
from pipeline.policy.parsing.segments import read_when
from pipeline.policy.render_value import shown

MAX_RULES = 1_000
MAX_SHOWS = 1_000
MAX_SALT_CHARACTERS = 64


class Counting(NamedTuple):
    """How decisions come to be counted, which caps and budgets go by."""

    bucket_ms: int
    settle: Settle
    window_ms: int
    """The attribution window."""


def read_guardrails(root: Section, arms: Sequence[Arm], counting: Counting) -> Guardrails:
    """Read the guardrails, all optional."""
    section = root.section("guardrails")
    names = [arm.name for arm in arms]
    active = [arm.name for arm in arms if not arm.retired]
    guardrails = Guardrails(
        control=_read_control(section, active) if section.has("control") else "",
        diversity=_read_diversity(section, len(active)),
        stale_after_ms=section.duration_ms("stale_after", "1s", "365d") if section.has("stale_after") else 0,
        eligibility=tuple(_read_rule(one, names) for one in section.sections("eligibility", 0, MAX_RULES)),
        holdout=_read_holdout(section.section("holdout")) if section.has("holdout") else None,
        frequency=_read_frequency(section.section("frequency")) if section.has("frequency") else None,
        caps=_read_caps(section, names, active, counting),
        budget=_read_budget(section.section("budget"), names, active, counting) if section.has("budget") else None,
    )
    section.finish()
    return guardrails


def read_share(section: Section, key: str, *, low: float = 0.0, may_be_one: bool) -> float:
    """Read a share of subjects or decisions."""
    expected = f"a number above {low:g}, {'at most' if may_be_one else 'below'} 1"
    return section.number(key, expected=expected, accepts=lambda x: low < x < 1.0 or (may_be_one and x == 1.0))


def read_salt(section: Section) -> str:
    """Read the text that stirs an assignment of subjects."""
    if not section.has("salt"):
        return ""
    salt = section.raw["salt"]
    if isinstance(salt, str) and is_text(salt) and 0 < len(salt) <= MAX_SALT_CHARACTERS:
        return salt
    section.fault("salt", f"{shown(salt)} is not text of 1 to {MAX_SALT_CHARACTERS} characters")
    return ""


def read_arms(section: Section, key: str, names: Sequence[str]) -> tuple[str, ...]:
    """Read a list of arms of the policy, sorted."""
    values = section.items(key, 1, len(names) or 1, "an array of arms' names")
    for place, value in enumerate(values):
        if value not in names:
            section.fault(f"{key}[{place}]", f"{shown(value)} is no arm of this policy")
    return tuple(sorted({name for name in names if name in values}))


def _read_control(section: Section, active: Sequence[str]) -> str:
    control = section.name("control")
    if control and control not in active:
        section.fault("control", f'"{control}" is no active arm of this policy; name one that always may be shown')
    return control


def _read_diversity(section: Section, active: int) -> float:
    most = max(active, 1)
    expected = f"a number from 1 to {most}, as there are {most} active arms"
    return section.number("diversity", 1.0, expected, lambda x: 1.0 <= x <= most)


def _read_rule(section: Section, names: Sequence[str]) -> EligibilityRule:
    arms = read_arms(section, "arms", names)
    has_only, has_never = section.has("only_when"), section.has("never_when")
    if not has_only and not has_never:
        section.fault("", "has no condition; write only_when = { age = { at_least = 18 } }, or never_when")
    rule = EligibilityRule(
        arms,
        read_when(section, "only_when") if has_only else (),
        read_when(section, "never_when") if has_never else (),
    )
    section.finish()
    return rule


def _read_holdout(section: Section) -> Holdout:
    holdout = Holdout(read_share(section, "share", may_be_one=False), read_salt(section))
    section.finish()
    return holdout


def _read_frequency(section: Section) -> FrequencyCap:
    frequency = FrequencyCap(section.integer("shows", 1, MAX_SHOWS), section.duration_ms("window", "1s", "30d"))
    section.finish()
    return frequency


def _read_caps(
    section: Section, names: Sequence[str], active: Sequence[str], counting: Counting
) -> tuple[ExposureCap, ...]:
    sections = section.sections("caps", 0, max(len(names), 1))
    caps = tuple(_read_cap(one, names, counting) for one in sections)
    note_repeats([(one, cap.arm) for one, cap in zip(sections, caps, strict=True)], "arm")
    shares = {cap.arm: cap.share for cap in caps}
    if active and all(arm in shares for arm in active) and sum(shares[arm] for arm in active) < 1.0:
        section.fault("caps", "the caps of all active arms come to less than 1, but something is shown every time")
    return caps


def _read_cap(section: Section, names: Sequence[str], counting: Counting) -> ExposureCap:
    arm = section.name("arm")
    if arm and arm not in names:
        section.fault("arm", f'"{arm}" is no arm of this policy')
    cap = ExposureCap(arm, read_share(section, "share", may_be_one=True), _read_window(section, counting))
    section.finish()
    return cap


def _read_window(section: Section, counting: Counting) -> int:
    window_ms = section.duration_ms("window", "1s", "365d")
    if 0 < window_ms < counting.bucket_ms:
        section.fault(
            "window",
            f'"{duration_text(window_ms)}" is shorter than statistics.bucket "{duration_text(counting.bucket_ms)}", '
            "in which decisions are counted; let the window be as long, or the bucket shorter",
        )
    return window_ms


def _read_budget(section: Section, names: Sequence[str], active: Sequence[str], counting: Counting) -> Budget:
    expected = "a finite number above 0"
    budget = Budget(
        section.number("amount", expected=expected, accepts=lambda x: 0.0 < x < inf),
        _read_window(section, counting),
        read_numbers(section, "costs", names, "arm", expected),
        section.number("soft", 0.2, "a number above 0, at most 1", lambda x: 0.0 < x <= 1.0),
    )
    section.finish()
    if not section.raw.get("costs"):
        section.fault("costs", "names no arm; write what showing one costs: costs = { promo = 0.5 }")
    elif active and all(arm in budget.costs for arm in active):
        section.fault("costs", "every active arm costs, but something is shown when the budget is spent; free one")
    if counting.settle == "wait" and 0 < budget.window_ms * budget.soft < counting.window_ms:
        section.fault(
            "window",
            f'settle = "wait" reports a decision only after "{duration_text(counting.window_ms)}", too late for a '
            f'budget over "{duration_text(budget.window_ms)}"; let window times soft be longer, or settle earlier',
        )
    return budget
