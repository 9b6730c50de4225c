"""The one table at the end of a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

HEADINGS = (
    "seed",
    "scenario",
    "events",
    "faults injected",
    "redelivered",
    "lost",
    "doubled",
    "hash equal",
    "recovery s",
    "silent s",
)


class Row(NamedTuple):
    """What one scenario came to; `tests/harness/exactness.py` says what is counted."""

    seed: int
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
    silent_s: float | None = None
    """The longest time without a snapshot while events came, where that was looked at."""


def lines(rows: Sequence[Row]) -> list[str]:
    """Return the table as text, a line each."""
    cells = [
        (
            str(row.seed),
            row.scenario,
            f"{row.events:,}",
            str(row.faults_injected),
            f"{row.redelivered:,}",
            str(row.lost),
            str(row.doubled),
            "yes" if row.is_hash_equal else "NO",
            f"{row.recovery_s:.1f}",
            "" if row.silent_s is None else f"{row.silent_s:.1f}",
        )
        for row in sorted(rows, key=lambda row: (row.seed, row.scenario))
    ]
    widths = [max(len(line[column]) for line in (HEADINGS, *cells)) for column in range(len(HEADINGS))]

    def line(entries: Sequence[str]) -> str:
        seed, name, *numbers = entries
        texts = [seed.rjust(widths[0]), name.ljust(widths[1])]
        return "  ".join([*texts, *(n.rjust(w) for n, w in zip(numbers, widths[2:], strict=True))])

    return [line(HEADINGS), "  ".join("-" * width for width in widths), *map(line, cells)]
