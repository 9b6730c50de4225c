"""Ledger entries → decisions and rewards by group, subject, arm and segment. Pure.

| group          | decisions                                                                                     |
|----------------|-----------------------------------------------------------------------------------------------|
| holdout        | reason `holdout`                                                                              |
| policy         | all others that a snapshot was there for, fallbacks included: what else is amiss befalls both |
| no_snapshot    | a node had no snapshot and so could not tell who is held out: in neither                      |
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from pipeline.evaluate.ledger import Entry
from pipeline.events import Decision
from pipeline.policy.candidates import CANDIDATES
from pipeline.report.lift import Mean, mean_of

POLICY, HOLDOUT, NO_SNAPSHOT = "policy", "holdout", "no_snapshot"
GROUPS = (POLICY, HOLDOUT, NO_SNAPSHOT)


@dataclass(slots=True)
class Earned:
    """Decisions and what they earned."""

    decisions: int = 0
    reward: float = 0.0

    def add(self, reward: float) -> None:
        """Count one decision."""
        self.decisions += 1
        self.reward += reward


def _earned() -> defaultdict[str, Earned]:
    return defaultdict(Earned)


@dataclass(slots=True)
class Group:
    """One side of the comparison."""

    subjects: defaultdict[str, Earned] = field(default_factory=_earned)
    """By subject; a decision without one is its own."""
    arms: defaultdict[str, Earned] = field(default_factory=_earned)
    segments: defaultdict[str, Earned] = field(default_factory=_earned)

    @property
    def mean(self) -> Mean:
        """Return the mean reward a decision."""
        return mean_of((one.decisions, one.reward) for one in self.subjects.values())


@dataclass(slots=True)
class Tally:
    """All that is counted."""

    groups: dict[str, Group] = field(default_factory=lambda: {name: Group() for name in GROUPS})
    reasons: Counter[str] = field(default_factory=Counter)
    guardrails: Counter[str] = field(default_factory=Counter)
    open_count: int = 0
    """Decisions whose window is still open: left out unless asked for."""
    without_subject: int = 0
    """Decisions that stand for themselves: nobody is known who they were made for."""
    unread: int = 0
    """Decisions that can't be read any more, as those of a person who was forgotten."""


def group_of(decision: Decision) -> str:
    """Name the group of a decision."""
    if decision.reason == HOLDOUT:
        return HOLDOUT
    return POLICY if decision.snapshot_version > 0 else NO_SNAPSHOT


def tally(entries: Iterable[Entry], *, include_open: bool = False) -> Tally:
    """Count ledger entries, one an action."""
    counted = Tally()
    for entry in entries:
        decision = entry.decision
        if decision is None:
            counted.unread += 1
            continue
        if not entry.is_settled:
            counted.open_count += 1
            if not include_open:
                continue
        counted.reasons[decision.reason] += 1
        counted.guardrails.update(decision.guardrails)
        group = counted.groups[group_of(decision)]
        counted.without_subject += decision.subject_hash is None
        group.subjects[decision.subject_hash or f"action {decision.action_id}"].add(entry.reward)
        group.arms[CANDIDATES if decision.arm in decision.candidates else decision.arm].add(entry.reward)
        group.segments[entry.segment].add(entry.reward)
    return counted
