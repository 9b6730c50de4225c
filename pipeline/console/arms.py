"""A snapshot → what is known of each arm in a segment. Pure.

What can't be told is None, and `reasons` says why: a table never leaves a figure out in silence.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from pipeline.models.advice import expected_losses
from pipeline.models.beliefs import Beliefs, beliefs_of
from pipeline.models.model import Estimates, Floats
from pipeline.policy.definition import PolicyDefinition
from pipeline.policy.kinds import GRID_ONE
from pipeline.serve.following.snapshot import LoadedSnapshot

BY_CONTEXT = "{algorithm} learns from context: what it shows, and which arm is best, differs from visitor to visitor"
LARGE = 300
"""Arms of a segment up to which a page works out P(best) while somebody waits."""


class ArmRow(NamedTuple):
    """One arm of one segment."""

    arm: str
    state: str
    """killed, retired, control, or nothing."""
    counted: int
    """Rewards counted."""
    observed: float | None
    """Their mean, as it was counted."""
    share: float | None
    """What is drawn with at present: its propensity, floor and guardrails included."""
    best: float | None
    """P(best), by the posterior."""
    mean: float | None
    """The posterior's."""
    low: float | None
    """Of its 95 % interval."""
    high: float | None
    loss: float | None
    """Expected, per decision, of choosing it for good."""


class SegmentTable(NamedTuple):
    """One segment's arms."""

    segment: str
    rows: list[ArmRow]
    """By share, the largest first; arms that are not on offer last."""
    counted: int
    reasons: dict[str, str]
    """By the name of a column whose figures are withheld: why."""
    scale: tuple[float, float]
    """From the lowest to the highest end of an interval."""


def segment_table(
    snapshot: LoadedSnapshot, segment: str, record: Mapping[str, Any] | None, definition: PolicyDefinition | None
) -> SegmentTable:
    """Return a segment's table.

    Args:
        snapshot: what decides.
        segment: one of its segments.
        record: its record, decoded, for the sums; None: they are not at hand.
        definition: in force, for what is switched off by now.
    """
    present = definition or snapshot.definition
    posterior, reasons = snapshot.segments[segment], dict[str, str]()
    arms = posterior.arms
    active = tuple(arm for arm in snapshot.active if arm in posterior.index and arm not in present.switches.arms)
    sums = _observed(record, segment, snapshot)
    if sums is None:
        reasons["observed"] = "this snapshot is published in parts, which a page does not read: pipeline snapshot show"
    shares = _shares(snapshot, segment, active, reasons)
    estimates = _estimates(snapshot, segment, active, reasons)
    best, losses = _beliefs(snapshot, segment, active, reasons)
    place = {arm: number for number, arm in enumerate(active)}

    def of(values: Floats | None, arm: str) -> float | None:
        return None if values is None or arm not in place else float(values[place[arm]])

    rows = [
        ArmRow(
            arm,
            _state(arm, present, snapshot),
            posterior.counts.get(arm, 0),
            None if sums is None else sums.get(arm),
            of(shares, arm),
            of(best, arm),
            of(None if estimates is None else estimates.mean, arm),
            of(None if estimates is None else estimates.low, arm),
            of(None if estimates is None else estimates.high, arm),
            of(losses, arm),
        )
        for arm in arms
    ]
    rows.sort(key=lambda row: (row.arm not in place, -(row.share or 0.0), -row.counted, row.arm))
    ends = [end for row in rows for end in (row.low, row.high) if end is not None]
    scale = (min(ends), max(ends)) if ends else (0.0, 1.0)
    return SegmentTable(segment, rows, sum(posterior.counts.values()), reasons, scale)


def context_free_shares(snapshot: LoadedSnapshot, segment: str, arms: tuple[str, ...]) -> Floats:
    """Return what is drawn from, (K,), of a policy that goes by segment alone."""
    vector = np.zeros(snapshot.definition.dimension, np.int16)
    vector[:1] = GRID_ONE
    return snapshot.propensities(segment, arms, vector)


def _state(arm: str, present: PolicyDefinition, snapshot: LoadedSnapshot) -> str:
    if present.switches.is_killed:
        return "control" if arm == present.guardrails.control else "policy killed"
    if arm in present.switches.arms:
        return "killed"
    if arm not in snapshot.active:
        return "retired"
    return "control" if arm == present.guardrails.control else ""


def _observed(
    record: Mapping[str, Any] | None, segment: str, snapshot: LoadedSnapshot
) -> dict[str, float | None] | None:
    if record is None:
        return None
    unit = 2**snapshot.definition.reward_exponent
    entry = next((one for one in record["segments"] if one["segment"] == segment), None)
    if entry is None:
        return None
    rows = zip(entry["arms"], entry["counts"], entry["reward_sums"], strict=True)
    return {arm: total / unit / count if count else None for arm, count, total in rows}


def _shares(snapshot: LoadedSnapshot, segment: str, active: tuple[str, ...], reasons: dict[str, str]) -> Floats | None:
    if not active:
        reasons["share"] = "every arm is switched off or retired"
        return None
    if snapshot.needs_context:
        reasons["share"] = BY_CONTEXT.format(algorithm=snapshot.model.name)
        return None
    return context_free_shares(snapshot, segment, active)


def _estimates(
    snapshot: LoadedSnapshot, segment: str, active: tuple[str, ...], reasons: dict[str, str]
) -> Estimates | None:
    if snapshot.needs_context or not active:
        why = BY_CONTEXT.format(algorithm=snapshot.model.name) if active else "no arm is on offer"
        reasons |= {"mean": why}
        return None
    return snapshot.estimates_of(segment, active)


def _beliefs(
    snapshot: LoadedSnapshot, segment: str, active: tuple[str, ...], reasons: dict[str, str]
) -> tuple[Floats | None, Floats | None]:
    if len(active) > LARGE:
        reasons["best"] = f"it takes too long for a page among more than {LARGE} arms: pipeline advise"
        return None, None
    if not active:
        reasons["best"] = "no arm is on offer"
        return None, None
    try:
        beliefs: Beliefs = beliefs_of(snapshot.segments[segment].of(active))
    except ValueError:
        reasons["best"] = BY_CONTEXT.format(algorithm=snapshot.model.name)
        return None, None
    return beliefs.best(), expected_losses(beliefs)
