"""What one run says of one figure."""

from __future__ import annotations

from typing import NamedTuple


class Said(NamedTuple):
    """Whether it was right, where something was said."""

    is_right: bool | None
    """None: it was withheld."""
    width: float = float("nan")
    """Of the interval, where there is one."""
    is_above: bool = False
    """Whether the truth lay above the interval that missed it."""


WITHHELD = Said(None)


def interval(low: float, high: float, truth: float) -> Said:
    """Say whether an interval holds the truth."""
    return Said(low <= truth <= high, high - low, truth > high)
