"""Snapshot + context → arm, propensity, decision record. Pure: chance and time are arguments.

An arm is drawn from an explicit vector over the eligible arms, and the entry that was drawn is what is logged.
Eligible are the caller's arms that the policy knows and has not retired; without a list, all active arms. They
stand sorted by name, so that the order of a caller's list means nothing.

Where the model can't be asked, the draw is uniform, with reason `fallback`, and what learns from it stays right:

| what is amiss                   | drawn from           | what JOIN makes of the decision                        |
|---------------------------------|----------------------|--------------------------------------------------------|
| no snapshot                     | the caller's list    | counts in segment `unknown` of generation 1, if JOIN   |
|                                 |                      | knows the arm and can encode the raw context           |
| no snapshot, no list            | nothing: `NoAnswer`  | there is none                                          |
| context can't be encoded        | the eligible arms    | logged raw, without vector: JOIN refuses it for the    |
|                                 |                      | same reason, so it counts nowhere and can be replayed  |
| segment not in the snapshot     | the eligible arms    | counts in that segment; equal priors are uniform too   |
| the model finds no answer       | the eligible arms    | counts as usual                                        |
| no arm of the list is known     | the caller's list    | counts if JOIN knows the arm by now, as when it was    |
|                                 | less retired arms    | added a moment ago; else a dead letter                 |
| the list has retired arms only, | nothing: `NoAnswer`  | there is none                                          |
| or is empty                     |                      |                                                        |

An arm outside the caller's list is never answered: the caller may be unable, or not allowed, to show it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pipeline.errors import InvalidRecordError
from pipeline.events import Decision
from pipeline.models.floor import draw
from pipeline.models.model import Floats
from pipeline.policy.section import is_text
from pipeline.serve.snapshot import LoadedSnapshot

UNKNOWN_SEGMENT = "unknown"
FIRST_GENERATION = 1
FLOAT64_HOLDS = 2**1023
"""Integers below this fit, whichever way they are rounded."""

Context = Mapping[str, object]
Fallback = Literal["no-snapshot", "unencodable-context", "unknown-segment", "model-failed", "no-known-arm"]


@dataclass(frozen=True, slots=True)
class Decided:
    """An answer, and the record to log."""

    decision: Decision
    """The record, complete."""
    ignored: int = 0
    """Arms of the caller's list that are unknown or retired."""
    fallback: Fallback | None = None
    """Why the model was not asked; None: it was."""
    detail: str = ""
    """The same in words."""

    @property
    def arm(self) -> str:
        """The arm to show."""
        return self.decision.arm

    @property
    def propensity(self) -> float:
        """P(arm | context, snapshot)."""
        return self.decision.propensity

    @property
    def probabilities(self) -> dict[str, float]:
        """Every eligible arm's propensity."""
        return dict(zip(self.decision.eligible, self.decision.probabilities, strict=True))

    @property
    def snapshot_version(self) -> int:
        """The snapshot that decided; 0 if none."""
        return self.decision.snapshot_version

    @property
    def reason(self) -> str:
        """Policy or fallback."""
        return self.decision.reason


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """There is nothing that could be shown."""

    reason: Literal["no-snapshot", "no-eligible-arm"]
    """One of a closed set."""
    detail: str
    """What was seen, what to do."""


@dataclass(slots=True)
class _Plan:
    """What an arm is drawn from, and whence."""

    segment: str
    arms: tuple[str, ...]
    generation: int = FIRST_GENERATION
    propensities: Floats | None = None
    """None: uniform."""
    context_vector: bytes = b""
    schema_hash: str = ""
    snapshot_version: int = 0
    snapshot_id: str = ""
    ignored: int = 0
    fallback: Fallback | None = None
    detail: str = ""

    def fall_back(self, fallback: Fallback, detail: str) -> None:
        """Note why the model can't be asked; the first reason stands."""
        if self.fallback is None:
            self.fallback, self.detail = fallback, detail


def decide(
    snapshot: LoadedSnapshot | None,
    policy: str,
    context: Context,
    eligible: Sequence[str] | None,
    *,
    rng: np.random.Generator,
    action_id: str,
    now_ms: int,
    subject_hash: str | None = None,
) -> Decided | NoAnswer:
    """Choose an arm; see the module for what happens where the model can't be asked."""
    plan = _plan_blindly(policy, eligible) if snapshot is None else _plan(snapshot, context, eligible)
    if isinstance(plan, NoAnswer):
        return plan
    propensities = plan.propensities
    if propensities is None:
        propensities = np.full(len(plan.arms), 1.0 / len(plan.arms))
    drawn = draw(propensities, rng.random())
    decision = Decision(
        action_id=action_id,
        policy=policy,
        generation=plan.generation,
        segment=plan.segment,
        arm=plan.arms[drawn],
        propensity=float(propensities[drawn]),
        eligible=plan.arms,
        probabilities=propensities.tolist(),
        context=_loggable(context),
        context_vector=plan.context_vector,
        schema_hash=plan.schema_hash,
        decided_at_ms=now_ms,
        snapshot_version=plan.snapshot_version,
        snapshot_id=plan.snapshot_id,
        subject_hash=subject_hash,
        reason="policy" if plan.fallback is None else "fallback",
    )
    return Decided(decision, plan.ignored, plan.fallback, plan.detail)


def _plan_blindly(policy: str, eligible: Sequence[str] | None) -> _Plan | NoAnswer:
    detail = f"this node has no snapshot of policy {policy!r}"
    if eligible is None:
        return NoAnswer(
            "no-snapshot",
            f"{detail}, so it knows no arm: send `eligible`, or apply the policy: pipeline policy apply FILE",
        )
    if not eligible:
        return _nothing_eligible("the list is empty")
    plan = _Plan(UNKNOWN_SEGMENT, tuple(sorted(set(eligible))))
    plan.fall_back("no-snapshot", f"{detail}: drawn uniformly from the list")
    return plan


def _plan(snapshot: LoadedSnapshot, context: Context, eligible: Sequence[str] | None) -> _Plan | NoAnswer:
    definition = snapshot.definition
    plan = _Plan(
        segment=definition.segments.segment_for(context),
        arms=snapshot.active,
        generation=definition.generation,
        snapshot_version=snapshot.version,
        snapshot_id=snapshot.id,
    )
    if eligible is not None:
        _restrict(plan, snapshot, frozenset(eligible))
        if not plan.arms:
            return _nothing_eligible(f"{plan.ignored} of its arms are retired" if plan.ignored else "the list is empty")
    try:
        vector = definition.features.encode(context)
    except InvalidRecordError as error:
        plan.fall_back("unencodable-context", str(error))
        return plan
    plan.context_vector = vector.astype("<i2", copy=False).tobytes()
    plan.schema_hash = definition.schema_hash
    if plan.segment not in snapshot.segments:
        plan.fall_back("unknown-segment", f"snapshot {snapshot.version} has no segment {plan.segment!r}")
    if plan.fallback is None:
        try:
            plan.propensities = snapshot.propensities(plan.segment, plan.arms, vector)
        except ValueError as error:
            plan.fall_back("model-failed", str(error))
    return plan


def _restrict(plan: _Plan, snapshot: LoadedSnapshot, listed: frozenset[str]) -> None:
    known = tuple(arm for arm in snapshot.active if arm in listed)
    if known:
        plan.arms, plan.ignored = known, len(listed) - len(known)
        return
    retired = listed.intersection(snapshot.definition.arm_names)
    plan.arms, plan.ignored = tuple(sorted(listed - retired)), len(retired)
    plan.fall_back("no-known-arm", f"snapshot {snapshot.version} has none of the listed arms: drawn uniformly")


def _nothing_eligible(seen: str) -> NoAnswer:
    return NoAnswer(
        "no-eligible-arm", f"`eligible` leaves nothing to show ({seen}): list an active arm, or leave it out"
    )


def _loggable(context: Context) -> dict[str, object]:
    """Return the fields that a decision record can carry; the others are no features, or JOIN misses them too."""
    return {name: value for name, value in context.items() if is_text(name) and _is_loggable(value)}


def _is_loggable(value: object) -> bool:
    if isinstance(value, str):
        return is_text(value)
    if isinstance(value, int):  # a bool is one
        return -FLOAT64_HOLDS < value < FLOAT64_HOLDS
    return isinstance(value, float)
