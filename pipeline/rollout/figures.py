"""The decisions of a step, of the policy that follows and of the one that it follows → named figures. Pure.

Subjects are assigned by chance, with the same share for the whole of a step, so the two groups differ by what decided
and by nothing else: a lift over several steps would count early days more in one group than in the other. The figures
are those of `pipeline report`: its lift, its interval that may be looked at every day, its test of the shares.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from pipeline.evaluate.ledger import Entry
from pipeline.policy.figure_condition import Figures
from pipeline.report.interval import Group, Interval
from pipeline.report.lift import lift_of
from pipeline.report.sample_ratio import Split, always_p_value
from pipeline.report.tally import POLICY, Earned, group_of

FALLBACK = "fallback"
FIXED = (
    *("lift.value", "lift.low", "lift.high", "lift.once.low", "lift.once.high"),
    *("lift.relative", "lift.relative.low", "lift.relative.high", "srm.p_value", "share.seen"),
    *("subjects.new", "subjects.old", "decisions.new", "decisions.old", "reward.new", "reward.old"),
    *("fallback.new", "fallback.old", "hours"),
)
OF_KIND = ("value", "low", "high")
HOUR_MS = 3_600_000


class Step(NamedTuple):
    """What holds since a step began."""

    since_ms: int
    """Decisions from then on count: no node decides by what was before."""
    now_ms: int
    """When it is looked at."""
    share: float
    """Of subjects, in (0, 1)."""
    bounds: tuple[float, float]
    """Of a reward."""
    kinds: Sequence[str]
    """Of outcomes, each told apart."""


@dataclass(slots=True)
class _Side:
    """What one of the two policies decided."""

    subjects: dict[str, Earned] = field(default_factory=dict)
    kinds: dict[str, dict[str, Earned]] = field(default_factory=dict)
    first_ms: dict[str, int] = field(default_factory=dict)
    decisions: int = 0
    fallbacks: int = 0

    @property
    def group(self) -> Group:
        return Group.of((one.decisions, one.reward) for one in self.subjects.values())

    def group_of_kind(self, kind: str) -> Group:
        """Return in place of rewards how many decisions had an outcome of the kind."""
        return Group.of((one.decisions, one.reward) for one in self.kinds[kind].values())


def names_of(kinds: Iterable[str]) -> list[str]:
    """Return the names of all figures.

    >>> names_of(["refund"])[-3:]
    ['kind.refund.value', 'kind.refund.low', 'kind.refund.high']
    """
    return [*FIXED, *(f"kind.{kind}.{end}" for kind in kinds for end in OF_KIND)]


def figures_of(new: Iterable[Entry], old: Iterable[Entry], step: Step) -> Figures:
    """Return the figures of a step; those that can't be told yet are None.

    Args:
        new: ledger entries of the policy that follows.
        old: of the one that it follows. Whom that holds out it keeps, and they are in neither group.
        step: since when, and under which share.
    """
    sides = _side(new, step), _side(old, step)
    found: dict[str, float | None] = dict.fromkeys(names_of(step.kinds))
    for name, side in zip(("new", "old"), sides, strict=True):
        group = side.group
        found |= {
            f"subjects.{name}": float(group.subjects),
            f"decisions.{name}": float(side.decisions),
            f"reward.{name}": group.mean if group.subjects else None,
            f"fallback.{name}": side.fallbacks / side.decisions if side.decisions else None,
        }
    found["hours"] = (step.now_ms - step.since_ms) / HOUR_MS
    found |= _ratio(*sides, step.share)
    lift = lift_of(sides[0].group, sides[1].group, step.bounds)
    if lift is not None:
        found |= _named("lift", lift.always) | {
            "lift.once.low": lift.difference.low,
            "lift.once.high": lift.difference.high,
        }
        if lift.relative is not None:
            found["lift.relative"] = lift.relative.value
            found |= {"lift.relative.low": lift.relative.low, "lift.relative.high": lift.relative.high}
    for kind in step.kinds:
        of_new, of_old = (side.group_of_kind(kind) for side in sides)
        of_kind = lift_of(of_new, of_old, (0.0, 1.0))
        if of_kind is not None:
            found |= _named(f"kind.{kind}", of_kind.always)
    return found


def _side(entries: Iterable[Entry], step: Step) -> _Side:
    side = _Side(kinds={kind: {} for kind in step.kinds})
    for entry in entries:
        decision = entry.decision
        if (
            decision is None
            or not entry.is_settled
            or decision.decided_at_ms < step.since_ms
            or group_of(decision) != POLICY
        ):
            continue
        subject = decision.subject_hash or f"action {decision.action_id}"
        side.decisions += 1
        side.fallbacks += decision.reason == FALLBACK
        side.subjects.setdefault(subject, Earned()).add(entry.reward)
        side.first_ms[subject] = min(decision.decided_at_ms, side.first_ms.get(subject, decision.decided_at_ms))
        for kind, subjects in side.kinds.items():
            subjects.setdefault(subject, Earned()).add(float(kind in entry.kinds))
    return side


def _ratio(new: _Side, old: _Side, share: float) -> dict[str, float | None]:
    """Compare how many subjects came to each policy first with the share that is declared."""
    everybody = new.first_ms.keys() | old.first_ms.keys()
    if not everybody or not 0.0 < share < 1.0:
        return {}
    never = float("inf")
    came = sum(new.first_ms.get(one, never) <= old.first_ms.get(one, never) for one in everybody)
    return {"share.seen": came / len(everybody), "srm.p_value": always_p_value({share: Split(len(everybody), came)})}


def _named(name: str, interval: Interval) -> dict[str, float | None]:
    return {f"{name}.value": interval.value, f"{name}.low": interval.low, f"{name}.high": interval.high}
