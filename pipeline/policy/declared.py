"""What of a request may be logged with its decision: what the policy declares, and nothing else. Pure.

Declared are features, the fields that segments and eligibility rules read, what stands in `logged`, and what candidates
are told by. `logged` gives what a node writes to `decisions`, which ages out. `kept` gives what JOIN keeps for ever, in
rows and ledger: numbers and truths of those fields, and of texts those that the policy itself names (a category, what a
condition compares with); any text only of a field in `logged`. So whoever a caller names where no name belongs stands
nowhere in the ledger.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.policy.kinds import Feature
from pipeline.policy.segments import Condition

MAX_TEXT_CHARACTERS = 256
"""Of a logged text; a longer one is left out."""
FLOAT64_HOLDS = 2**1023
"""Integers below this fit, whichever way they are rounded."""
_FLOAT = frozenset({float})


@dataclass(frozen=True, slots=True)
class DeclaredFields:
    """The fields of a policy's requests that may be logged."""

    texts: Mapping[str, frozenset[str] | None]
    """By context field: the texts that may be kept of it; None: any."""
    candidates: frozenset[str]
    """What candidates are told by."""
    names: frozenset[str]
    """The context fields."""

    def logged(self, context: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields of a context that a node logs.

        >>> fields = declared_fields((), (), ["city"], ())
        >>> fields.logged({"city": "Bern", "email": "jane@example.org"})
        {'city': 'Bern'}
        """
        if self.names.issuperset(context) and _FLOAT.issuperset(map(type, context.values())):  # as most are
            return dict(context)
        return {name: value for name, value in context.items() if name in self.names and is_loggable(value)}

    def kept(self, context: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields of a context that are kept.

        >>> declared_fields((), [Condition("tier", "equals", "gold")], (), ()).kept({"tier": "jane@example.org"})
        {}
        """
        return {name: value for name, value in context.items() if self._keeps(name, value)}

    def kept_of(self, candidates: Mapping[str, Mapping[str, float]]) -> dict[str, Mapping[str, float]]:
        """Return what is kept of candidates' features."""
        return {
            arm: {name: value for name, value in features.items() if name in self.candidates}
            for arm, features in candidates.items()
            if self.candidates
        }

    def keeps_all(self, context: Mapping[str, Any], candidates: Mapping[str, Mapping[str, float]]) -> bool:
        """Whether nothing is to be left out of what is kept."""
        if not self.names.issuperset(context):
            return False
        if candidates and not all(map(self.candidates.issuperset, candidates.values())):
            return False
        return _FLOAT.issuperset(map(type, context.values())) or all(map(self._keeps, context, context.values()))

    def _keeps(self, name: str, value: object) -> bool:
        if name not in self.names or not is_loggable(value):
            return False
        texts = self.texts[name]
        return texts is None or not isinstance(value, str) or value in texts


NOTHING_DECLARED = DeclaredFields({}, frozenset(), frozenset())
"""Of a policy that nobody knows."""


def declared_fields(
    features: Sequence[Feature], conditions: Iterable[Condition], logged: Iterable[str], candidates: Iterable[str]
) -> DeclaredFields:
    """Gather what a policy declares."""
    named: dict[str, set[str]] = {}
    for feature in features:
        named.setdefault(feature.name, set()).update(feature.texts)
    for condition in conditions:
        named.setdefault(condition.field, set()).update(_texts(condition))
    texts: dict[str, frozenset[str] | None] = {name: frozenset(words) for name, words in named.items()}
    texts |= dict.fromkeys(logged)
    return DeclaredFields(texts, frozenset(candidates), frozenset(texts))


def is_loggable(value: object) -> bool:
    """Whether a record can carry a value, and its size is bounded.

    >>> [is_loggable(value) for value in (True, 1.5, "x", "x" * 257, [1], None, 10**400)]
    [True, True, True, False, False, False, False]
    """
    if isinstance(value, str):
        return len(value) <= MAX_TEXT_CHARACTERS and _is_utf8(value)
    if isinstance(value, int):  # a bool is one
        return -FLOAT64_HOLDS < value < FLOAT64_HOLDS
    return isinstance(value, float)


def _texts(condition: Condition) -> Iterator[str]:
    operand = condition.operand
    yield from (one for one in (operand if isinstance(operand, tuple) else (operand,)) if isinstance(one, str))


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
