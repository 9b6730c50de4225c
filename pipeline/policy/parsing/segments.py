"""`[segments]` → `Segmentation`."""

from __future__ import annotations

from collections.abc import Mapping
from math import isnan

from pipeline.policy.parsing.section import NAME, NAME_RULE, Section, as_number, is_text
from pipeline.policy.render_value import shown
from pipeline.policy.segments import COMPARISONS, OPERATORS, Condition, Scalar, Segmentation, SegmentRule

MAX_RULES = 1_000
MAX_CHOICES = 1_000
SCALAR_RULE = "text, a finite number, true or false"


def read_segments(root: Section) -> Segmentation:
    """Read the rules in order."""
    section = root.section("segments")
    default = section.name("default", "default")
    rules = tuple(_read_rule(one) for one in section.sections("rules", 0, MAX_RULES))
    section.finish()
    return Segmentation(rules, default)


def _read_rule(section: Section) -> SegmentRule:
    name = section.name("name")
    conditions = read_when(section, "when")
    section.finish()
    return SegmentRule(name, conditions)


def read_when(section: Section, key: str) -> tuple[Condition, ...]:
    """Read the conditions under `key`, one at least."""
    when = section.section(key)
    if not when.raw:
        when.fault("", f"has no condition; write one like {key} = {{ visits = {{ below = 2 }} }}")
    return tuple(condition for field in sorted(when.raw) for condition in _read_conditions(when, field))


def _read_conditions(when: Section, field: str) -> list[Condition]:
    """Read every comparison of one field."""
    if NAME.fullmatch(field) is None:
        when.fault(field, f"is not a field's name; write {NAME_RULE}")
        return []
    raw = when.raw[field]
    if not isinstance(raw, Mapping) or not raw:
        when.fault(field, f"{shown(raw)} compares nothing; write {{ equals = ... }} or one of {', '.join(OPERATORS)}")
        return []
    section = when.section(field)
    conditions = [Condition(field, word, _read_operand(section, word)) for word in OPERATORS if section.has(word)]
    section.finish()
    return conditions


def _read_operand(section: Section, word: str) -> Scalar | tuple[Scalar, ...]:
    if word in COMPARISONS:
        return section.number(word)
    if word == "equals":
        return _scalar(section, word, section.raw[word])
    values = section.items(word, 1, MAX_CHOICES, f"an array of {SCALAR_RULE}")
    return tuple(_scalar(section, f"{word}[{i}]", value) for i, value in enumerate(values))


def _scalar(section: Section, key: str, value: object) -> Scalar:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and is_text(value):
        return value
    number = as_number(value)
    if isnan(number):
        section.fault(key, f"{shown(value)} is not {SCALAR_RULE}")
    return number
