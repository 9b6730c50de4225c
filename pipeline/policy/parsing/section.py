"""One table of a definition, read key by key; every fault is noted with its place and reading goes on.

A getter that notes a fault gives a stand-in that no later check complains about (a number is nan, so every
comparison is false; text is empty), and the definition is never built from it. Asking for a key makes it an
accepted one; `finish` notes the keys that nobody asked for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from difflib import get_close_matches
from math import isfinite, nan

from pipeline.policy.durations import duration_text, parse_duration_ms
from pipeline.policy.render_value import shown

NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
NAME_RULE = "1 to 64 letters, digits, _ . or -"
REQUIRED = None
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_.\[\]-]{0,80}")
_FAULTY = object()


class Section:
    """A table and its place, such as `reward.outcomes[0]`."""

    def __init__(self, raw: Mapping[str, object], path: str, faults: list[str]) -> None:
        self.raw = raw
        self.path = path
        self.faults = faults
        self._accepted: dict[str, None] = {}

    def has(self, key: str) -> bool:
        """Whether an optional key is there; accepts it."""
        self._accepted[key] = None
        return key in self.raw

    def fault(self, key: str, what: str) -> None:
        """Note a fault at `key`; the empty key is the table itself."""
        self.faults.append(f"{self.place(key)}: {what}")

    def place(self, key: str) -> str:
        """Give the full path of `key`; a key that could break the line is quoted."""
        plain = key if _PLAIN_KEY.fullmatch(key) else shown(key)
        return ".".join(part for part in (self.path, plain) if part)

    def finish(self) -> None:
        """Note every unknown key."""
        accepted = sorted(self._accepted)
        for key in self.raw:
            if key not in self._accepted:
                self.fault(key, f"unknown key{_nearest(key, accepted)}; accepted: {', '.join(accepted)}")

    def name(self, key: str, default: str | None = REQUIRED) -> str:
        """Read a name that is safe in keys, topics and file names."""
        value = self._take(key, default, NAME_RULE)
        if isinstance(value, str) and NAME.fullmatch(value):
            return value
        if value is not _FAULTY:
            self.fault(key, f"{shown(value)} is not a name; write {NAME_RULE}")
        return ""

    def choice(self, key: str, options: Collection[str], default: str | None = REQUIRED, expected: str = "") -> str:
        """Read one of a few words; `expected` says which where they are many."""
        expected = expected or f"one of {', '.join(options)}"
        value = self._take(key, default, expected)
        if isinstance(value, str) and value in options:
            return value
        if value is not _FAULTY:
            self.fault(key, f"{shown(value)} is not {expected}{_nearest(value, options)}")
        return ""

    def flag(self, key: str, *, default: bool) -> bool:
        """Read true or false."""
        value = self._take(key, default, "true or false")
        if isinstance(value, bool):
            return value
        self.fault(key, f"{shown(value)} is not true or false; write one, without quotes")
        return default

    def integer(self, key: str, low: int, high: int, default: int | None = REQUIRED) -> int:
        """Read a whole number."""
        expected = f"a whole number from {low} to {high}"
        value = self._take(key, default, expected)
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
            return value
        if value is not _FAULTY:
            self.fault(key, f"{shown(value)} is not {expected}")
        return low

    def number(
        self,
        key: str,
        default: float | None = REQUIRED,
        expected: str = "a finite number",
        accepts: Callable[[float], bool] = isfinite,
    ) -> float:
        """Read a finite number for which `accepts` holds; `expected` says so in words."""
        value = self._take(key, default, expected)
        number = as_number(value)
        if accepts(number):
            return number
        if value is not _FAULTY:
            self.fault(key, f"{shown(value)} is not {expected}")
        return nan

    def duration_ms(self, key: str, shortest: str, longest: str, default: str | None = REQUIRED) -> int:
        """Read a duration between two others, such as "30s" between "1s" and "30d"."""
        expected = f'a duration from "{shortest}" to "{longest}"'
        value = self._take(key, default, expected)
        if value is _FAULTY:
            return 0
        duration_ms = parse_duration_ms(value) if isinstance(value, str) else None
        if duration_ms is None:
            self.fault(key, f'{shown(value)} is not {expected}; write a whole number and ms, s, m, h or d: "30s"')
            return 0
        if not _known_ms(shortest) <= duration_ms <= _known_ms(longest):
            self.fault(key, f'"{duration_text(duration_ms)}" is not {expected}')
            return 0
        return duration_ms

    def items(self, key: str, shortest: int, longest: int, expected: str) -> list[object]:
        """Read an array of `shortest` to `longest` values; absent is empty where `shortest` is 0."""
        value = self._take(key, REQUIRED if shortest else [], expected)
        if isinstance(value, list) and shortest <= len(value) <= longest:
            return value
        if isinstance(value, list):
            self.fault(key, f"has {len(value)} entries, expected {shortest} to {longest}: {expected}")
        elif value is not _FAULTY:
            self.fault(key, f"{shown(value)} is not {expected}")
        return []

    def sections(self, key: str, shortest: int, longest: int) -> list[Section]:
        """Read an array of tables."""
        header = re.sub(r"\[\d+\]", "", self.place(key))
        values = self.items(key, shortest, longest, f"an array of tables, each under [[{header}]]")
        return [self._table(f"{key}[{i}]", value) for i, value in enumerate(values)]

    def section(self, key: str) -> Section:
        """Read a table; one that is absent is read as empty."""
        return self._table(key, self._take(key, {}, "a table"))

    def _table(self, key: str, value: object) -> Section:
        if isinstance(value, Mapping):
            return Section(value, self.place(key), self.faults)
        self.fault(key, f"{shown(value)} is not a table of keys and values")
        # One fault says it: those of the keys it then lacks go to a list that nobody reads.
        return Section({}, self.place(key), [])

    def _take(self, key: str, default: object, expected: str) -> object:
        self._accepted[key] = None
        if key in self.raw:
            return self.raw[key]
        if default is REQUIRED:
            self.fault(key, f"missing; write {expected}")
            return _FAULTY
        return default


def as_number(value: object) -> float:
    """Give a finite float64; nan for anything else, and true is not a number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return nan
    try:
        number = float(value)
    except OverflowError:
        return nan
    # Equal definitions have one text: + 0.0 turns -0.0 into 0.0.
    return number + 0.0 if isfinite(number) else nan


def is_text(value: object) -> bool:
    """Whether `value` is a string that UTF-8 can hold: JSON can smuggle in half a surrogate pair."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def note_repeats(sections: Iterable[tuple[Section, str]], key: str) -> None:
    """Note every name that an earlier section has; empty ones are faults already noted."""
    first: dict[str, Section] = {}
    for section, name in sections:
        if name and first.setdefault(name, section) is not section:
            section.fault(key, f'"{name}" is already {first[name].path}; give each its own')


def _nearest(word: object, accepted: Collection[str]) -> str:
    nearest = get_close_matches(word, accepted, n=1) if isinstance(word, str) else []
    return f'; did you mean "{nearest[0]}"?' if nearest else ""


def _known_ms(text: str) -> int:
    duration_ms = parse_duration_ms(text)
    if duration_ms is None:
        raise ValueError(f"{text!r} is not a duration")
    return duration_ms
