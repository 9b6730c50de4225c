"""Decisions counted and rewards earned, by segment and arm, as a snapshot tells them: exact, and since ever. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Row = tuple[str, str]
"""Segment and arm."""


@dataclass(frozen=True, slots=True)
class Totals:
    """The sums of one moment."""

    counts: Mapping[Row, int]
    """Decisions."""
    rewards: Mapping[Row, float]
    """Σr in units of reward."""

    @property
    def count(self) -> int:
        """All decisions."""
        return sum(self.counts.values())

    def since(self, before: Totals) -> Totals:
        """Return what came after `before`; below zero where something was taken out."""
        return Totals(
            {row: n - before.counts.get(row, 0) for row, n in self.counts.items()},
            {row: reward - before.rewards.get(row, 0.0) for row, reward in self.rewards.items()},
        )


def totals_of(segments: Iterable[Mapping[str, Any]], step: float) -> Totals:
    """Read the `segments` of a snapshot's fields; `step` is the reward's grid.

    >>> told = totals_of([{"segment": "new", "arms": ["a", "b"], "counts": [3, 1], "reward_sums": [2, 0]}], 0.5)
    >>> told.counts["new", "a"], told.rewards["new", "a"], told.count
    (3, 1.0, 4)
    """
    counts: dict[Row, int] = {}
    rewards: dict[Row, float] = {}
    for segment in segments:
        for arm, n, total in zip(segment["arms"], segment["counts"], segment["reward_sums"], strict=True):
            counts[segment["segment"], arm] = int(n)
            rewards[segment["segment"], arm] = float(total) * step
    return Totals(counts, rewards)
