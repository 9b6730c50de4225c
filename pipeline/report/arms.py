"""What each arm earns, whoever it was shown to and whenever. Pure.

    m_a = Σ r/p / Σ 1/p    over the decisions that showed arm a

with the propensity p that was logged (Hájek's ratio): each decision stands for 1/p like it. Pooled as it was shown, an
arm that is shown the more the less everything converts looks worse than it is, and one that is shown to the better
visitors better. Σ 1/p over all decisions is the part of them in which the arm could be shown, as its reach: of an arm
that could not be shown to everybody the mean is that of those that it could.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import sqrt
from typing import Any

from pipeline.policy.candidates import CANDIDATES
from pipeline.report.interval import Group, interval_of, range_of

ASTRAY = 5.0
"""Standard errors that a reach may be off by chance."""


@dataclass(slots=True)
class Arm:
    """The decisions that showed an arm."""

    decisions: int = 0
    reward: float = 0.0
    squares: float = 0.0
    """Σ 1/p²."""
    subjects: defaultdict[str, tuple[float, float]] = field(default_factory=lambda: defaultdict(lambda: (0.0, 0.0)))
    """Σ 1/p and Σ r/p by subject."""

    def add(self, subject: str, reward: float, propensity: float) -> None:
        """Count one decision."""
        weight = 1.0 / propensity
        self.decisions += 1
        self.reward += reward
        self.squares += weight * weight
        weights, rewards = self.subjects[subject]
        self.subjects[subject] = weights + weight, rewards + weight * reward

    @property
    def group(self) -> Group:
        """Return its subjects, as many decisions each as theirs stand for."""
        return Group.of(self.subjects.values())


def table_of(arms: Mapping[str, Arm], declared: tuple[float, float]) -> dict[str, dict[str, Any]]:
    """Return what is known of each arm of a group; `declared` is the range of a reward."""
    total = sum(arm.decisions for arm in arms.values())
    groups = {name: arm.group for name, arm in arms.items()}
    everyone = sum(groups.values(), Group.of([]))
    table = {}
    for name, arm in sorted(arms.items()):
        group = groups[name]
        is_known = group.subjects > 1
        interval = interval_of(group, range_of(everyone, declared), declared, is_exact=True) if is_known else None
        table[name] = {
            "decisions": arm.decisions,
            "share": arm.decisions / total,
            "mean_reward": group.mean,
            "interval": interval and interval._asdict(),
            "mean_as_shown": arm.reward / arm.decisions,
            "reach": None if name == CANDIDATES else float(group.decisions.sum()) / total,
        }
    return table


def doubts_of(arms: Mapping[str, Arm]) -> list[str]:
    """Say in words which arms could not be shown in all decisions, or were shown more often than was logged."""
    total = sum(arm.decisions for arm in arms.values())
    found = []
    for name, arm in sorted(arms.items()):
        reach = sum(weight for weight, _ in arm.subjects.values()) / total
        if name == CANDIDATES or abs(reach - 1.0) <= ASTRAY * sqrt(arm.squares) / total:
            continue
        share = arm.decisions / total
        if reach > 1.0:
            found.append(
                f"{name} was shown in {share:.1%} of the decisions, where its logged propensities come to "
                f"{share / reach:.1%}: arms were not drawn with those, and nothing weighed by them can be trusted"
            )
        else:
            found.append(
                f"the decisions that showed {name} stand for {reach:.1%} of all by their propensities: it could not be "
                "shown in the others, or those are not true, and its mean is not one of the same visitors"
            )
    return found
