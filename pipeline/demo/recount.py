"""The ledger, counted a second time, with dictionaries instead of a worker: what a snapshot must come to. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from pipeline.demo.freshness import LedgerPlace

ArmKey = tuple[str, str]
"""(segment, arm)."""


class Total(NamedTuple):
    """What one arm of one segment comes to."""

    decisions: int
    """How many count."""
    reward_sum: int
    """Σr in grid units."""


class _Latest(NamedTuple):
    revision: int
    key: ArmKey
    reward: int


class Recount:
    """What one policy's ledger records say so far."""

    def __init__(self, policy: str) -> None:
        self.policy = policy
        self.settled: set[str] = set()
        """Actions whose attribution window has closed."""
        self.credited: dict[str, LedgerPlace] = {}
        """Outcome id → where the ledger first names it."""
        self._latest: dict[str, _Latest] = {}

    def take(self, partition: int, offset: int, reward: Mapping[str, Any]) -> None:
        """Take in a decoded `reward` record; of one action the highest revision counts."""
        if reward["policy"] != self.policy:
            return
        action_id = reward["action_id"]
        for credit in reward["outcomes"]:
            self.credited.setdefault(credit["outcome_id"], (partition, offset))
        if reward["is_settled"]:
            self.settled.add(action_id)
        known = self._latest.get(action_id)
        if known is None or reward["revision"] >= known.revision:
            key = (reward["segment"], reward["arm"])
            self._latest[action_id] = _Latest(reward["revision"], key, reward["reward"])

    @property
    def actions(self) -> int:
        """How many actions the ledger names."""
        return len(self._latest)

    def totals(self) -> dict[ArmKey, Total]:
        """Sum up every (segment, arm) that has decisions."""
        totals: dict[ArmKey, Total] = {}
        for latest in self._latest.values():
            before = totals.get(latest.key, Total(0, 0))
            totals[latest.key] = Total(before.decisions + 1, before.reward_sum + latest.reward)
        return totals


def snapshot_totals(snapshot: Mapping[str, Any]) -> dict[ArmKey, Total]:
    """Return what a decoded `snapshot` record says of every (segment, arm) that has decisions."""
    return {
        (segment["segment"], arm): Total(count, reward_sum)
        for segment in snapshot["segments"]
        for arm, count, reward_sum in zip(segment["arms"], segment["counts"], segment["reward_sums"], strict=True)
        if count
    }


def first_difference(expected: Mapping[ArmKey, Total], found: Mapping[ArmKey, Total]) -> str | None:
    """Say where two counts differ first, in words; None if they are equal."""
    nothing = Total(0, 0)
    for segment, arm in sorted(expected.keys() | found.keys()):
        one, other = expected.get((segment, arm), nothing), found.get((segment, arm), nothing)
        if one != other:
            return (
                f"segment {segment}, arm {arm}: expected {one.decisions} decisions with Σr = {one.reward_sum} grid "
                f"units, found {other.decisions} with {other.reward_sum}"
            )
    return None
