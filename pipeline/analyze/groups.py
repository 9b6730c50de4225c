"""A fairness audit: who is shown what, and what comes of it, by groups of a field. Pure.

A group of few subjects is withheld: an interval of theirs says nothing, and what was shown to them is theirs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from pipeline.analyze.association import association, holm
from pipeline.analyze.fields import Field
from pipeline.evaluate.log import DecisionLog, Mask
from pipeline.models.model import Floats
from pipeline.report.interval import Group, interval_of, range_of

UNIT = (0.0, 1.0)


class Audited(NamedTuple):
    """One group of a field."""

    field: str
    group: str
    subjects: int
    decisions: int
    mean_reward: Mapping[str, float | None]
    """Value and interval."""
    shares: Mapping[str, Mapping[str, float | None]]
    """The same of each arm's share of its decisions."""
    differs: Mapping[str, float]
    """Holm's p-values, of all groups and both questions: that its shares, or its rewards, are those of all others."""


class Audit(NamedTuple):
    """All groups."""

    shown: list[Audited]
    withheld: list[str]
    """In words."""


def audit(log: DecisionLog, fields: Sequence[Field], least: int, rng: np.random.Generator) -> Audit:
    """Compare each group with all others; `least`: subjects of a group that is shown."""
    shown = (log.arm[:, None] == np.arange(len(log.arms))).astype(np.float64)
    found: list[tuple[Field, str, Mask]] = []
    withheld = []
    for field in fields:
        for code, level in enumerate(field.levels):
            mine = field.codes == code
            subjects = len(np.unique(log.clusters.unit[mine]))
            if subjects < least:
                withheld.append(f"{field.name} {level}: {subjects} subjects, {least} are needed")
            else:
                found.append((field, level, mine))
    questions = {"shares": shown, "rewards": log.reward[:, None]}
    p_values = [
        association(mine[:, None].astype(np.float64), y, log.clusters, rng)
        for _, _, mine in found
        for y in questions.values()
    ]
    adjusted = iter(holm(p_values))
    return Audit(
        [
            Audited(
                field.name,
                level,
                len(np.unique(log.clusters.unit[mine])),
                int(mine.sum()),
                _mean(log, log.reward, mine, log.bounds),
                {
                    arm: _mean(log, shown[:, place], mine, UNIT)
                    for place, arm in enumerate(log.arms)
                    if shown[:, place].any()
                },
                {question: next(adjusted) for question in questions},
            )
            for field, level, mine in found
        ],
        withheld,
    )


def _mean(log: DecisionLog, values: Floats, mine: Mask, bounds: tuple[float, float]) -> dict[str, float | None]:
    everyone, group = _group(log, values, np.ones_like(mine)), _group(log, values, mine)
    if group.subjects < 2:
        return {"value": group.mean, "low": None, "high": None}
    return dict(interval_of(group, range_of(everyone, bounds), bounds, is_exact=True)._asdict())


def _group(log: DecisionLog, values: Floats, mine: Mask) -> Group:
    unit, count = log.clusters.unit[mine], log.clusters.how_many
    decisions, earned = np.bincount(unit, minlength=count), np.bincount(unit, values[mine], count)
    there = decisions > 0
    return Group(decisions[there].astype(np.float64), earned[there].astype(np.float64))
