"""Durations: text like `"30s"` for people, integer milliseconds in code."""

from __future__ import annotations

import re

UNITS_MS = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}
# Twelve digits of days stay far below 2^63 ms once a range has been checked, and no int is ever huge.
_DURATION = re.compile(r"([0-9]{1,12})(ms|s|m|h|d)")


def parse_duration_ms(text: str) -> int | None:
    """Read a whole number and a unit; None if `text` is no duration.

    >>> parse_duration_ms("10m"), parse_duration_ms("10")
    (600000, None)
    """
    match = _DURATION.fullmatch(text)
    return None if match is None else int(match[1]) * UNITS_MS[match[2]]


def duration_text(duration_ms: int) -> str:
    """Write a duration in the largest unit that gives a whole number.

    >>> duration_text(3_600_000), duration_text(90_000), duration_text(0)
    ('1h', '90s', '0s')
    """
    if duration_ms == 0:
        return "0s"
    unit = next(unit for unit, unit_ms in UNITS_MS.items() if duration_ms % unit_ms == 0)
    return f"{duration_ms // UNITS_MS[unit]}{unit}"
