"""The one table at the end of a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

HEADINGS = (
    "scenario",
    "events",
    "faults injected",
    "redelivered",
    "lost",
    "doubled",
    "hash equal",
    "recovery s",
)


class Row(NamedTuple):
    """What one scenario came to; `tests/harness/exactness.py` says what is counted."""

    scenario: str
    events: int
    faults_injected: int
    redelivered: int
    lost: int
    doubled: int
    is_hash_equal: bool
    recovery_s: float
    """From the end of the last fault to the last expected posterior."""
    complaints: Sequence[str] = ()


def lines(rows: Sequence[Row]) -> list[str]:
    """Return the table as text, a line each."""
    cells = [
        (
            row.scenario,
            f"{row.events:,}",
            str(row.faults_injected),
            f"{row.redelivered:,}",
            str(row.lost),
            str(row.doubled),
            "yes" if row.is_hash_equal else "NO",
            f"{row.recovery_s:.1f}",
        )
        for row in rows
    ]
    widths = [max(len(line[column]) for line in (HEADINGS, *cells)) for column in range(len(HEADINGS))]

    def line(entries: Sequence[str]) -> str:
        name, *numbers = entries
        return "  ".join([name.ljust(widths[0]), *(n.rjust(w) for n, w in zip(numbers, widths[1:], strict=True))])

    return [line(HEADINGS), "  ".join("-" * width for width in widths), *map(line, cells)]
