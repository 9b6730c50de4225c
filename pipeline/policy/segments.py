"""Context → segment: rules in order, the first that matches names the segment."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

Scalar = str | float | bool

COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    "at_least": operator.ge,
    "above": operator.gt,
    "at_most": operator.le,
    "below": operator.lt,
}
OPERATORS = ("equals", "in", *COMPARISONS)


@dataclass(frozen=True, slots=True)
class Condition:
    """One comparison of one context field."""

    field: str
    """Context field."""
    operator: str
    """One of `OPERATORS`."""
    operand: Scalar | tuple[Scalar, ...]
    """What the field is compared with; a tuple for `in`, a number for the four comparisons."""

    def is_met(self, value: object) -> bool:
        """Compare; a value of the wrong type never meets a condition, and true is not 1."""
        if self.operator == "equals":
            return _equal(value, self.operand)
        if self.operator == "in":
            return isinstance(self.operand, tuple) and any(_equal(value, one) for one in self.operand)
        return _is_number(value) and COMPARISONS[self.operator](value, self.operand)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class SegmentRule:
    """Conditions that put a context into a segment."""

    name: str
    """The segment; several rules may name the same one."""
    conditions: tuple[Condition, ...]
    """All must be met; in order of field and operator, as the order in a file means nothing."""

    def matches(self, context: Mapping[str, object]) -> bool:
        """Whether every condition is met; a missing field meets none."""
        return are_met(self.conditions, context)

    def to_plain(self) -> dict[str, object]:
        """Give the JSON value."""
        return {"name": self.name, "when": conditions_to_plain(self.conditions)}


@dataclass(frozen=True, slots=True)
class Segmentation:
    """How a policy divides its traffic; each segment learns on its own."""

    rules: tuple[SegmentRule, ...] = ()
    """Tried in order."""
    default: str = "default"
    """The segment when no rule matches."""

    def segment_for(self, context: Mapping[str, object]) -> str:
        """Name the segment of a context; never fails."""
        for rule in self.rules:
            if rule.matches(context):
                return rule.name
        return self.default

    @property
    def names(self) -> tuple[str, ...]:
        """Every segment there can be, sorted."""
        return tuple(sorted({self.default, *(rule.name for rule in self.rules)}))

    def to_plain(self) -> dict[str, object]:
        """Give the JSON value."""
        return {"default": self.default, "rules": [rule.to_plain() for rule in self.rules]}


def are_met(conditions: Sequence[Condition], context: Mapping[str, object]) -> bool:
    """Whether a context meets every condition; a missing field meets none."""
    # None is no scalar, so a missing field and a null are the same.
    return all(condition.is_met(context.get(condition.field)) for condition in conditions)


def conditions_to_plain(conditions: Sequence[Condition]) -> dict[str, object]:
    """Give the JSON value: field → operator → operand."""
    when: dict[str, dict[str, object]] = {}
    for condition in conditions:
        operand = condition.operand
        plain = list(operand) if isinstance(operand, tuple) else operand
        when.setdefault(condition.field, {})[condition.operator] = plain
    return dict(when)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _equal(value: object, operand: object) -> bool:
    if _is_number(value):
        return _is_number(operand) and value == operand
    # True == 1 in Python; here a value equals only one of its own type.
    return type(value) is type(operand) and value == operand
