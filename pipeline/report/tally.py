"""Ledger entries → decisions and rewards by group, subject, arm and segment. Pure.

| group          | decisions                                                                                     |
|----------------|-----------------------------------------------------------------------------------------------|
| holdout        | reason `holdout`                                                                              |
| policy         | all others that a snapshot was there for, fallbacks included: what else is amiss befalls both |
| analysis       | those of them that were never learned from: no success of theirs has drawn more of its kind   |
| no_snapshot    | a node had no snapshot and so could not tell who is held out: in neither                      |
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from pipeline.evaluate.ledger import Entry
from pipeline.events import Decision
from pipeline.policy.candidates import CANDIDATES
from pipeline.report import interval
from pipeline.report.arms import Arm
from pipeline.report.lift import Stratum
from pipeline.report.sample_ratio import Split

POLICY, ANALYSIS, HOLDOUT, NO_SNAPSHOT = "policy", "analysis", "holdout", "no_snapshot"
GROUPS = (POLICY, ANALYSIS, HOLDOUT, NO_SNAPSHOT)


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


def _by_share() -> defaultdict[float | None, defaultdict[str, Earned]]:
    return defaultdict(_earned)


@dataclass(slots=True)
class Side:
    """One side of the comparison."""

    subjects: defaultdict[str, Earned] = field(default_factory=_earned)
    """By subject; a decision without one is its own."""
    by_share: defaultdict[float | None, defaultdict[str, Earned]] = field(default_factory=_by_share)
    """The same by the holdout's share that was in force; None: it isn't known."""
    decisions: int = 0
    arms: defaultdict[str, Arm] = field(default_factory=lambda: defaultdict(Arm))
    segments: defaultdict[str, Earned] = field(default_factory=_earned)

    def add(self, subject: str, share: float | None, entry: Entry, decision: Decision) -> None:
        """Count one decision, made while a share was held out."""
        is_candidate = decision.arm in decision.candidates
        self.decisions += 1
        self.subjects[subject].add(entry.reward)
        self.by_share[share][subject].add(entry.reward)
        # Candidates differ from request to request: what one stands for is no decision about another.
        arm, propensity = (CANDIDATES, 1.0) if is_candidate else (decision.arm, decision.propensity)
        self.arms[arm].add(subject, entry.reward, propensity)
        self.segments[entry.segment].add(entry.reward)

    @property
    def group(self) -> interval.Group:
        """Return its subjects, as they are compared."""
        return _group(self.subjects)


def _group(subjects: Mapping[str, Earned]) -> interval.Group:
    return interval.Group.of((one.decisions, one.reward) for one in subjects.values())


class First(NamedTuple):
    """A subject's first decision in one of the two groups."""

    decided_at_ms: int
    snapshot_version: int
    is_held_out: bool
    share: float | None
    """Of the holdout then."""


@dataclass(slots=True)
class Tally:
    """All that is counted."""

    groups: dict[str, Side] = field(default_factory=lambda: {name: Side() for name in GROUPS})
    reasons: Counter[str] = field(default_factory=Counter)
    guardrails: Counter[str] = field(default_factory=Counter)
    undecodable: Counter[str] = field(default_factory=Counter)
    """Those that count here and were not learned from, as their context gave no vector: by the reason."""
    open_count: int = 0
    """Decisions whose window is still open: left out unless asked for."""
    without_subject: int = 0
    """Decisions that stand for themselves: nobody is known who they were made for."""
    unread: int = 0
    """Decisions that can't be read any more, as those of a person who was forgotten."""
    first_seen: dict[str, First] = field(default_factory=dict)
    """By subject."""

    @property
    def unit(self) -> str:
        """Return what is compared: subjects, or actions where most decisions name nobody."""
        named = self.decisions - self.without_subject
        return "subject" if named > self.without_subject else "action"

    @property
    def decisions(self) -> int:
        """Return how many decisions are counted; the analysis group is in the policy's."""
        return sum(side.decisions for name, side in self.groups.items() if name != ANALYSIS)

    @property
    def in_both(self) -> int:
        """Return how many subjects stand in both groups, as where a share was changed."""
        return len(self.groups[POLICY].subjects.keys() & self.groups[HOLDOUT].subjects.keys())

    def splits(self, otherwise: float) -> dict[float, Split]:
        """Return how many subjects came first under each share of the holdout, and were held out.

        Args:
            otherwise: the share where it isn't known.
        """
        found: dict[float, Split] = {}
        for first in self.first_seen.values():
            share = otherwise if first.share is None else first.share
            before = found.get(share, Split(0, 0))
            found[share] = Split(before.subjects + 1, before.held_out + first.is_held_out)
        return {share: split for share, split in found.items() if 0.0 < share < 1.0}

    def strata_of(self, group: str) -> dict[float | None, Stratum]:
        """Return what is compared with each other, by the holdout's share that was in force."""
        served, holdout = (self.groups[name].by_share for name in (group, HOLDOUT))
        shares = sorted(served.keys() | holdout.keys(), key=lambda share: (share is not None, share or 0.0))
        return {share: Stratum(_group(served.get(share, {})), _group(holdout.get(share, {}))) for share in shares}


def group_of(decision: Decision) -> str:
    """Name the group of a decision."""
    if decision.reason == HOLDOUT:
        return HOLDOUT
    return POLICY if decision.snapshot_version > 0 else NO_SNAPSHOT


def tally(
    entries: Iterable[Entry],
    shares: Mapping[int, float] | None = None,
    otherwise: float | None = None,
    *,
    include_open: bool = False,
) -> Tally:
    """Count ledger entries, one an action.

    Args:
        entries: as the ledger has them.
        shares: of the holdout, by the snapshot version that they came with.
        otherwise: the share of versions that are not among them.
        include_open: whether decisions whose window is open count too.
    """
    counted = Tally()
    shares = shares or {}
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
        if entry.undecodable:
            counted.undecodable[entry.undecodable] += 1
        name = group_of(decision)
        subject = decision.subject_hash or f"action {decision.action_id} at {decision.decided_at_ms}"
        counted.without_subject += decision.subject_hash is None
        share = shares.get(decision.snapshot_version, otherwise)
        for side_name in (POLICY, ANALYSIS) if name == POLICY and decision.is_analysis else (name,):
            counted.groups[side_name].add(subject, share, entry, decision)
        if name != NO_SNAPSHOT:
            first = First(decision.decided_at_ms, decision.snapshot_version, name == HOLDOUT, share)
            counted.first_seen[subject] = min(first, counted.first_seen.get(subject, first))
    return counted
