"""One snapshot against another of the same policy: what was learned in between, and what was defined anew. Pure.

Sums are compared exactly, each in units of its own definition's reward grid. An arm or segment that one of the two
does not have is None on that side.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import orjson

from pipeline.policy.parsing.parse import parse_policy

ON_OFFER = "on offer"
RETIRED = "retired"
ABSENT = "not there"
# What names an entry of a list in a definition: an arm, segment rule or feature; an outcome.
_ENTRY_NAMES = ("name", "kind")


class Count(NamedTuple):
    """What a snapshot counts of one arm in one segment."""

    counted: int
    """Rewards counted."""
    reward_sum: Fraction
    """Their sum, in units of reward."""

    @property
    def mean(self) -> float | None:
        """Reward per count; None without any."""
        return float(self.reward_sum / self.counted) if self.counted else None

    def to_plain(self) -> dict[str, Any]:
        """Give the JSON value."""
        return {"count": self.counted, "reward_sum": float(self.reward_sum), "mean": self.mean}


class CountChange(NamedTuple):
    """One arm of one segment whose count or sum differs."""

    segment: str
    arm: str
    before: Count | None
    after: Count | None


class ArmChange(NamedTuple):
    """An arm that is offered in one definition and not in the other."""

    arm: str
    before: str
    """on offer, retired or not there."""
    after: str


class DefinitionChange(NamedTuple):
    """Another difference of the definitions, with its place, such as `exploration.floor`."""

    where: str
    before: Any
    """A JSON value; None: not there."""
    after: Any


class OffsetMove(NamedTuple):
    """A partition of the ledger of which more, or less, is in."""

    partition: int
    before: int
    after: int


class Rollback(NamedTuple):
    """One of the two that is an older version's content."""

    version: int
    of: int


class SnapshotDiff(NamedTuple):
    """What differs between two snapshots."""

    is_posterior_equal: bool
    """Whether what the posteriors are a function of is the same."""
    arms: Sequence[ArmChange]
    """By name."""
    definition: Sequence[DefinitionChange]
    """By place."""
    offsets: Sequence[OffsetMove]
    """By partition."""
    counts: Sequence[CountChange]
    """By segment and arm."""
    rollbacks: Sequence[Rollback]
    """Those of the two that are an older one's content."""

    def to_plain(self) -> dict[str, Any]:
        """Give the JSON value."""
        counts = [
            {
                **change._asdict(),
                "before": None if change.before is None else change.before.to_plain(),
                "after": None if change.after is None else change.after.to_plain(),
            }
            for change in self.counts
        ]
        return {
            "is_posterior_equal": self.is_posterior_equal,
            "arms": [change._asdict() for change in self.arms],
            "definition": [change._asdict() for change in self.definition],
            "offsets": [move._asdict() for move in self.offsets],
            "counts": counts,
            "rollbacks": [again._asdict() for again in self.rollbacks],
        }


def diff_snapshots(before: Mapping[str, Any], after: Mapping[str, Any]) -> SnapshotDiff:
    """Compare two decoded snapshots."""
    old, new = orjson.loads(before["definition"]), orjson.loads(after["definition"])
    return SnapshotDiff(
        is_posterior_equal=before["posterior_sha256"] == after["posterior_sha256"],
        arms=list(_arm_changes(old, new)),
        definition=[change for change in definition_changes(old, new) if not _is_arm(change.where)],
        offsets=list(_offset_moves(before, after)),
        counts=list(_count_changes(_counts(before), _counts(after))),
        rollbacks=[Rollback(one["version"], one["rollback_of"]) for one in (before, after) if one["rollback_of"]],
    )


def definition_changes(before: Any, after: Any, where: str = "") -> Iterator[DefinitionChange]:
    """Yield the smallest parts in which two JSON values differ, by place.

    >>> list(definition_changes({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}}))
    [DefinitionChange(where='a.c', before=2, after=3)]
    """
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted(before.keys() | after.keys()):
            place = f"{where}.{key}" if where else key
            yield from definition_changes(before.get(key), after.get(key), place)
        return
    old, new = _by_name(before), _by_name(after)
    if old is not None and new is not None:
        for name in sorted(old.keys() | new.keys()):
            yield from definition_changes(old.get(name), new.get(name), f"{where}[{name}]")
        if old.keys() == new.keys() and list(old) != list(new):
            yield DefinitionChange(f"order of {where}", list(old), list(new))
    elif before != after:
        yield DefinitionChange(where, before, after)


def _by_name(value: Any) -> dict[str, Any] | None:
    """Return a list of named tables by name, if it is one."""
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        return None
    for naming in _ENTRY_NAMES:
        if all(naming in entry for entry in value):
            return {entry[naming]: entry for entry in value}
    return None


def _is_arm(where: str) -> bool:
    return where.startswith("arms[")


def _arm_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[ArmChange]:
    old, new = _arm_states(before), _arm_states(after)
    for arm in sorted(old.keys() | new.keys()):
        change = ArmChange(arm, old.get(arm, ABSENT), new.get(arm, ABSENT))
        if change.before != change.after:
            yield change


def _arm_states(definition: Mapping[str, Any]) -> dict[str, str]:
    return {arm["name"]: RETIRED if arm["retired"] else ON_OFFER for arm in definition["arms"]}


def _offset_moves(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[OffsetMove]:
    old, new = (
        {entry["partition"]: entry["offset"] for entry in snapshot["ledger_offsets"]} for snapshot in (before, after)
    )
    for partition in sorted(old.keys() | new.keys()):
        move = OffsetMove(partition, old.get(partition, 0), new.get(partition, 0))
        if move.before != move.after:
            yield move


def _counts(snapshot: Mapping[str, Any]) -> dict[tuple[str, str], Count]:
    definition = parse_policy(orjson.loads(snapshot["definition"]), f"snapshot {snapshot['version']}")
    unit = 2**definition.reward_exponent
    return {
        (segment["segment"], arm): Count(count, Fraction(total, unit))
        for segment in snapshot["segments"]
        for arm, count, total in zip(segment["arms"], segment["counts"], segment["reward_sums"], strict=True)
    }


def _count_changes(
    before: Mapping[tuple[str, str], Count], after: Mapping[tuple[str, str], Count]
) -> Iterator[CountChange]:
    for segment, arm in sorted(before.keys() | after.keys()):
        change = CountChange(segment, arm, before.get((segment, arm)), after.get((segment, arm)))
        if change.before != change.after:
            yield change
