"""Snapshot + context → arm, propensity, decision record. Pure: chance and time are arguments.

An arm is drawn from an explicit vector over the eligible arms, and the entry that was drawn is what is logged.
Eligible are the caller's arms that the policy knows, has not retired or killed, and whose rules admit the context;
without a list, all such arms. They stand sorted by name, so that the order of a caller's list means nothing. What
guardrails do to the vector stands in `guardrails/`; each that changed something is named in the record.

Where the model can't be asked there is a fallback, and what learns from it stays right:

| what is amiss                   | drawn from           | what JOIN makes of the decision                        |
|---------------------------------|----------------------|--------------------------------------------------------|
| no snapshot                     | the caller's list    | counts in segment `unknown` of generation 1, if JOIN   |
|                                 |                      | knows the arm and can encode the raw context           |
| no snapshot, no list            | nothing: `NoAnswer`  | there is none                                          |
| context can't be encoded        | the eligible arms    | logged raw, without vector: JOIN refuses it for the    |
|                                 |                      | same reason, so it counts nowhere and can be replayed  |
| segment not in the snapshot     | the eligible arms    | counts in that segment; equal priors are uniform too   |
| the model finds no answer, or   | the eligible arms    | counts as usual                                        |
| raises whatever it may          |                      |                                                        |
| the policy is killed            | control, or the      | counts as usual                                        |
|                                 | eligible arms        |                                                        |
| the snapshot is older than the  | the same             | counts as usual                                        |
| policy's `stale_after`          |                      |                                                        |
| no arm of the list is known     | the caller's list    | counts if JOIN knows the arm by now, as when it was    |
|                                 | less retired arms    | added a moment ago; else a dead letter                 |
| the list has retired arms only, | nothing: `NoAnswer`  | there is none                                          |
| or is empty, or no rule admits  |                      |                                                        |
| any arm                         |                      |                                                        |

A fallback is uniform, then under the same guardrails as a model's weights. An arm outside the caller's list, or one
that a rule refuses, is never answered: the caller may be unable, or not allowed, to show it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InvalidRecordError
from pipeline.events import Decision
from pipeline.models.floor import check_distribution, draw
from pipeline.models.model import Floats
from pipeline.policy.definition import PolicyDefinition
from pipeline.policy.guardrails import Switches
from pipeline.policy.section import is_text
from pipeline.serve.guardrails.assignment import is_within
from pipeline.serve.guardrails.eligibility import admitted
from pipeline.serve.snapshot import LoadedSnapshot

UNKNOWN_SEGMENT = "unknown"
FIRST_GENERATION = 1
FLOAT64_HOLDS = 2**1023
"""Integers below this fit, whichever way they are rounded."""

Context = Mapping[str, object]
Fallback = Literal[
    "no-snapshot",
    "unencodable-context",
    "unknown-segment",
    "model-failed",
    "no-known-arm",
    "killed",
    "stale-snapshot",
]
Reason = Literal["policy", "fallback", "holdout"]


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
    shadows: tuple[Decision, ...] = ()
    """What policies in shadow mode would have shown: to be logged apart, never learned from as if it was shown."""

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
        """Policy, fallback or holdout."""
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
    is_held_out: bool = False
    guardrails: tuple[str, ...] = ()
    """Names of those that changed something."""

    def fall_back(self, fallback: Fallback, detail: str) -> None:
        """Note why the model can't be asked; the first reason stands."""
        if self.fallback is None:
            self.fallback, self.detail = fallback, detail

    @property
    def reason(self) -> Reason:
        """Who is held out is so whatever else is amiss: the groups of a comparison must not depend on it."""
        return "holdout" if self.is_held_out else "policy" if self.fallback is None else "fallback"


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
    switches: Switches | None = None,
    worn: Collection[str] = (),
    age_ms: int = 0,
) -> Decided | NoAnswer:
    """Choose an arm; see the module for what happens where the model can't be asked.

    Args:
        snapshot: of `policy`; None: there is none.
        policy: what is asked.
        context: raw fields.
        eligible: arms that the caller can show; None: all.
        rng: chance.
        action_id: names the decision; without a subject it also says whether the decision is held out.
        now_ms: event time of the decision.
        subject_hash: the person, hashed.
        switches: what is switched off, where it is known later than the snapshot's definition.
        worn: arms that the subject has seen too often (`guardrails/frequency.py`).
        age_ms: how long ago the snapshot was published.
    """
    if snapshot is None:
        plan = _plan_blindly(policy, eligible)
    else:
        asked = _Asked(context, eligible, subject_hash or action_id, now_ms, switches, worn, age_ms)
        plan = _plan(snapshot, asked)
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
        reason=plan.reason,
        guardrails=plan.guardrails,
    )
    return Decided(decision, plan.ignored, plan.fallback, plan.detail)


class _Asked(NamedTuple):
    """A request, as `decide` is given it."""

    context: Context
    eligible: Sequence[str] | None
    unit: str
    """What is held out or not: the subject, or the action where there is none."""
    now_ms: int
    switches: Switches | None
    worn: Collection[str]
    age_ms: int


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


def _plan(snapshot: LoadedSnapshot, asked: _Asked) -> _Plan | NoAnswer:
    definition = snapshot.definition
    plan = _Plan(
        segment=definition.segments.segment_for(asked.context),
        arms=snapshot.active,
        generation=definition.generation,
        snapshot_version=snapshot.version,
        snapshot_id=snapshot.id,
    )
    switches = asked.switches or definition.switches
    refusal = _narrow(plan, snapshot, asked, switches)
    if refusal is not None:
        return refusal
    vector = _encode(plan, definition, asked.context)
    _look_for_what_is_amiss(plan, snapshot, asked, switches)
    if plan.is_held_out or plan.fallback in {"killed", "stale-snapshot"}:
        plan.propensities = _control(plan.arms, definition.guardrails.control)
    elif plan.fallback is None and vector is not None:
        _ask(plan, snapshot, vector, asked.now_ms)
    if plan.propensities is None and plan.fallback != "no-known-arm":
        _hold_uniform_within_bounds(plan, snapshot, asked.now_ms)
    return plan


def _narrow(plan: _Plan, snapshot: LoadedSnapshot, asked: _Asked, switches: Switches) -> NoAnswer | None:
    """Leave the arms that may be shown to this subject in this context."""
    if not set(switches.arms).isdisjoint(plan.arms):
        plan.arms = tuple(arm for arm in plan.arms if arm not in switches.arms)
        plan.guardrails += ("killed-arms",)
    if asked.eligible is not None:
        _restrict(plan, snapshot, frozenset(asked.eligible), switches)
        if not plan.arms:
            seen = f"{plan.ignored} of its arms are retired or killed" if plan.ignored else "the list is empty"
            return _nothing_eligible(seen)
    rules = snapshot.definition.guardrails.eligibility
    if rules:
        arms = admitted(rules, asked.context, plan.arms)
        if arms != plan.arms:
            plan.arms = arms
            plan.guardrails += ("eligibility",)
    if not plan.arms:
        return _nothing_eligible("every arm is killed, or refused by the policy's rules in this context")
    if asked.worn:
        fresh = tuple(arm for arm in plan.arms if arm not in asked.worn)
        # Something is shown all the same, where the subject has seen everything too often.
        if fresh != plan.arms:
            plan.arms = fresh or plan.arms
            plan.guardrails += ("frequency" if fresh else "frequency-lifted",)
    return None


def _restrict(plan: _Plan, snapshot: LoadedSnapshot, listed: frozenset[str], switches: Switches) -> None:
    known = tuple(arm for arm in plan.arms if arm in listed)
    if known:
        plan.arms, plan.ignored = known, len(listed) - len(known)
        return
    barred = listed.intersection((*snapshot.definition.arm_names, *switches.arms))
    plan.arms, plan.ignored = tuple(sorted(listed - barred)), len(barred)
    plan.fall_back("no-known-arm", f"snapshot {snapshot.version} has none of the listed arms: drawn uniformly")


def _encode(plan: _Plan, definition: PolicyDefinition, context: Context) -> NDArray[np.int16] | None:
    try:
        vector = definition.features.encode(context)
    except InvalidRecordError as error:
        plan.fall_back("unencodable-context", str(error))
        return None
    plan.context_vector = vector.astype("<i2", copy=False).tobytes()
    plan.schema_hash = definition.schema_hash
    return vector


def _look_for_what_is_amiss(plan: _Plan, snapshot: LoadedSnapshot, asked: _Asked, switches: Switches) -> None:
    guardrails = snapshot.definition.guardrails
    holdout = guardrails.holdout
    if holdout is not None and is_within(holdout.share, asked.unit, "holdout", snapshot.policy, holdout.salt):
        plan.is_held_out = True
        plan.guardrails += ("holdout",)
    elif switches.is_killed:
        plan.fallback, plan.detail = "killed", "the policy is killed: pipeline policy revive POLICY"
    elif 0 < guardrails.stale_after_ms <= asked.age_ms:
        plan.fall_back("stale-snapshot", f"snapshot {snapshot.version} was published {asked.age_ms} ms ago")
    elif plan.segment not in snapshot.segments:
        plan.fall_back("unknown-segment", f"snapshot {snapshot.version} has no segment {plan.segment!r}")


def _control(arms: tuple[str, ...], control: str) -> Floats | None:
    """Return the control arm for certain; where it can't be shown, nothing, which is uniform."""
    return np.array([float(arm == control) for arm in arms]) if control in arms else None


def _ask(plan: _Plan, snapshot: LoadedSnapshot, vector: NDArray[np.int16], now_ms: int) -> None:
    try:
        propensities, acted = snapshot.guarded(plan.segment, plan.arms, vector, now_ms)
        check_distribution(propensities.tolist())  # a list of some dozens is sooner summed than an array
    except Exception as error:  # noqa: BLE001  whatever a model does wrong, there is an answer (law 10)
        plan.fall_back("model-failed", str(error) or type(error).__name__)
        return
    plan.propensities = propensities
    plan.guardrails += acted


def _hold_uniform_within_bounds(plan: _Plan, snapshot: LoadedSnapshot, now_ms: int) -> None:
    """Put what is drawn without a model under the guardrails too; the holdout's uniform draw is left as it is."""
    if plan.is_held_out or not snapshot.guards.shape_uniform:
        return
    even = np.full(len(plan.arms), 1.0 / len(plan.arms))
    plan.propensities, acted = snapshot.guards.apply(plan.segment, plan.arms, even, now_ms)
    plan.guardrails += acted


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
