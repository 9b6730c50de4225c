"""A condition over named figures, in a grammar that a line of a crontab holds. Pure.

    condition  = all {"or" all}
    all        = one {"and" one}
    one        = "(" condition ")" | side ("<" | "<=" | ">" | ">=") side
    side       = NAME | NUMBER ["%"]

A figure that is not known yet makes neither a comparison true nor its opposite: `unknown or true` is true, `unknown and
false` is false, all else with it is unknown (Kleene 1952).
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

from pipeline.errors import ConfigError

Figures = Mapping[str, float | None]
"""By name; None: not known yet."""

APPRENTICE_FIGURES = (
    *("match.value", "match.low", "match.high", "value.shown", "value.value", "value.low", "value.high"),
    *("gain.value", "gain.low", "gain.high", "subjects", "decisions", "hours"),
)
"""What can be asked of an apprentice (`rollout/apprentice.py`)."""
UNTIL = "gain.low > 0"
"""What an apprentice is to meet where its file doesn't say."""
LONGEST = 500
DEEPEST = 20
"""Of parentheses in parentheses."""
_TOKEN = re.compile(
    r"\s*(?:(?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?%?)|(?P<name>[A-Za-z][\w.-]*)|(?P<sign><=|>=|<|>|\(|\)))"
)
_SIGNS: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True, slots=True)
class Comparison:
    """One figure against another one, or a number."""

    left: str | float
    sign: str
    right: str | float

    def holds(self, figures: Figures) -> bool | None:
        """Return whether it does; None: not known."""
        left, right = (figures.get(side) if isinstance(side, str) else side for side in (self.left, self.right))
        return None if left is None or right is None else _SIGNS[self.sign](left, right)

    def in_words(self, figures: Figures) -> Iterator[str]:
        """Say what its figures are."""
        for side in (self.left, self.right):
            if isinstance(side, str):
                seen = figures.get(side)
                yield f"{side} is {'not known yet' if seen is None else f'{seen:.5g}'}"


@dataclass(frozen=True, slots=True)
class Joined:
    """Several conditions, all of which or any of which must hold."""

    parts: tuple[Condition, ...]
    is_any: bool

    def holds(self, figures: Figures) -> bool | None:
        """Return whether it does; None: not known."""
        found = [part.holds(figures) for part in self.parts]
        if self.is_any in found:
            return self.is_any
        return None if None in found else not self.is_any

    def in_words(self, figures: Figures) -> Iterator[str]:
        """Say what their figures are."""
        for part in self.parts:
            yield from part.in_words(figures)


Condition = Comparison | Joined


def parse_condition(text: str, known: Collection[str], where: str = "--if") -> Condition:
    """Read a condition over figures of these names.

    >>> condition = parse_condition("lift.low > 0 and srm.p_value >= 0.1%", {"lift.low", "srm.p_value"})
    >>> condition.holds({"lift.low": 0.01, "srm.p_value": 0.5}), condition.holds({"lift.low": -1.0})
    (True, False)

    Raises:
        ConfigError: it is none, or names a figure that there is not; says which there are.
    """
    return _Reader(text, known, where).read()


class _Reader:
    """Reads a condition from the left."""

    def __init__(self, text: str, known: Collection[str], where: str) -> None:
        self._text, self._known, self._where = text, known, where
        self._at = self._depth = 0

    def read(self) -> Condition:
        if len(self._text) > LONGEST:
            raise self._fault(f"is {len(self._text)} characters long, expected at most {LONGEST}")
        found = self._condition()
        if self._peek() is not None:
            raise self._fault("expected `and`, `or` or the end")
        return found

    def _condition(self) -> Condition:
        return self._joined("or", lambda: self._joined("and", self._one, is_any=False), is_any=True)

    def _joined(self, word: str, read: Callable[[], Condition], *, is_any: bool) -> Condition:
        parts = [read()]
        while self._peek() == word:
            self._next()
            parts.append(read())
        return parts[0] if len(parts) == 1 else Joined(tuple(parts), is_any)

    def _one(self) -> Condition:
        if self._peek() == "(":
            self._next()
            self._depth += 1
            if self._depth > DEEPEST:
                raise self._fault(f"has more than {DEEPEST} parentheses in each other")
            found = self._condition()
            self._depth -= 1
            if self._next() != ")":
                raise self._fault("expected `)`")
            return found
        left, sign = self._side(), self._next()
        if sign is None or sign not in _SIGNS:
            raise self._fault(f"expected one of {' '.join(_SIGNS)}")
        return Comparison(left, sign, self._side())

    def _side(self) -> str | float:
        token = self._next()
        if token is None:
            raise self._fault("ends where a figure or a number was expected")
        if token[0] in "+-.0123456789":
            return float(token[:-1]) / 100.0 if token.endswith("%") else float(token)
        if token not in self._known:
            raise self._fault(f"there is no figure {token!r}; there are: {', '.join(sorted(self._known))}")
        return token

    def _peek(self) -> str | None:
        before = self._at
        token = self._next()
        self._at = before
        return token

    def _next(self) -> str | None:
        if not self._text[self._at :].strip():
            return None
        found = _TOKEN.match(self._text, self._at)
        if found is None:
            raise self._fault(f"can't be read from {self._text[self._at :].strip()[:20]!r} on")
        self._at = found.end()
        return found[found.lastgroup or 0]

    def _fault(self, words: str) -> ConfigError:
        return ConfigError(self._where, [f"{self._text[:LONGEST]!r}: {words}. An example: lift.low > 0"])
