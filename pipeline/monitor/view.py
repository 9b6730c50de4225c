"""What a monitor looks at: the exact sums of the last day, and those of the week before it. Pure.

                     before: 7 days            recent: 1 day
    shown    ──┤───────────────────────────┤├────────────┤ newest bucket
    earned   ──┤─────────────────┤├──────────┤            an attribution window earlier: what comes of them has come

A day is as many buckets as it takes, one at the least; the newest bucket is left out where it is a large part of a day,
since half a day is no day. Old buckets lie in spans (`models/sums/spans.py`), which count
where their middle is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from pipeline.learn.memory import RowKey
from pipeline.models.model import Floats
from pipeline.models.sums.statistics import Integers, Statistics
from pipeline.policy.candidates import CANDIDATES
from pipeline.policy.definition import PolicyDefinition

DAY_MS = 86_400_000
LARGE_PART_MS = DAY_MS // 8
DAYS_BEFORE = 7
FEWEST = 1_000
"""Decisions that a period must have to say anything."""
ROW_FEWEST = 100
"""Decisions below which a row's mean says nothing."""
Row = tuple[str, str]
"""Segment and arm."""


@dataclass(slots=True)
class Period:
    """Sums of a stretch of event time."""

    rows: dict[Row, Statistics] = field(default_factory=dict)
    tallies: dict[tuple[str, Row], Integers] = field(default_factory=dict)
    """By name and row."""

    @property
    def count(self) -> int:
        """Decisions."""
        return sum(row.n for row in self.rows.values())

    def add(self, key: RowKey, row: Statistics) -> None:
        """Take in a row."""
        where = key.segment, key.arm
        if key.tally:
            known = self.tallies.get((key.tally, where))
            self.tallies[key.tally, where] = row.sums if known is None else known + row.sums
        elif row.n:
            self.rows[where] = self.rows[where] + row if where in self.rows else row

    def tally(self, name: str, width: int, weights: Mapping[Row, float] | None = None) -> Floats:
        """Return a row of tallies over all segments and arms, each weighed; (width,)."""
        total = np.zeros(width)
        for (one, where), sums in self.tallies.items():
            if one == name and len(sums) == width:
                total += sums * (1.0 if weights is None else weights.get(where, 0.0))
        return total

    def pooled(self) -> Statistics | None:
        """Return the sums of all segments and arms; None without any. Candidates are of other vectors."""
        rows = [row for (_, arm), row in self.rows.items() if arm != CANDIDATES]
        return sum(rows[1:], rows[0]) if rows else None


@dataclass(frozen=True, slots=True)
class Pair:
    """A day, and the week before it."""

    recent: Period
    before: Period

    @property
    def withheld(self) -> str:
        """Return why the two can't be compared; empty where they can."""
        if self.recent.count < FEWEST:
            return "few"
        return "young" if self.before.count < FEWEST else ""

    def mix(self) -> dict[Row, float]:
        """Return by how much each row of before counts where arms were shown as often as lately."""
        return {
            where: row.n / self.before.rows[where].n
            for where, row in self.recent.rows.items()
            if where in self.before.rows and self.before.rows[where].n >= ROW_FEWEST
        }


@dataclass(frozen=True)
class View:
    """What is known of a policy at one moment."""

    definition: PolicyDefinition
    rows: Iterable[tuple[RowKey, Statistics]]
    """By span of buckets."""
    newest: int
    """The newest bucket."""
    event_time_ms: int
    deviations: Callable[[int], float]
    """By how many figures are looked at in a look: how many standard deviations are no chance."""

    @cached_property
    def shown(self) -> Pair:
        """Return the last day of what was shown."""
        return self._pair(self.newest - (self.definition.bucket_ms > LARGE_PART_MS))

    @cached_property
    def earned(self) -> Pair:
        """Return the last day of which all has come that will."""
        if self.definition.attribution.settle == "wait":  # what is not over isn't counted
            return self.shown
        over = (self.event_time_ms - self.definition.window_ms) // self.definition.bucket_ms - 1
        return self._pair(min(self.newest, over))

    @cached_property
    def month(self) -> Period:
        """Return what was shown since the month began: a stretch of buckets whose ends lie still."""
        buckets = 1 << max(0, (32 * DAY_MS // self.definition.bucket_ms).bit_length() - 1)
        first, found = self.newest // buckets * buckets, Period()
        for key, row in self.rows:
            if key.bucket >= first:
                found.add(key, row)
        return found

    def threshold(self, monitor: str) -> float:
        """Return from where on a monitor is red."""
        return self.definition.monitors.threshold(monitor)

    def _pair(self, last: int) -> Pair:
        day = max(1, DAY_MS // self.definition.bucket_ms)
        recent, before = Period(), Period()
        for key, row in self.rows:
            age = last - key.bucket
            if 0 <= age < day:
                recent.add(key, row)
            elif day <= age < (1 + DAYS_BEFORE) * day:
                before.add(key, row)
        return Pair(recent, before)
