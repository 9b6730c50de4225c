"""First step of a decision: which arms may be shown, and whether the model may be asked. Pure.

Eligible are the caller's arms that the policy knows, has not retired or killed, and whose rules admit the context;
without a list, all such arms. They stand sorted by name, so that the order of a caller's list means nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from pipeline.errors import InvalidRecordError
from pipeline.events import NO_CANDIDATES
from pipeline.policy.candidates import all_features_within, features_within
from pipeline.policy.declared import NOTHING_DECLARED, DeclaredFields
from pipeline.policy.definition import PolicyDefinition
from pipeline.policy.guardrails import Switches
from pipeline.serve.following.snapshot import LoadedSnapshot
from pipeline.serve.guardrails.assignment import is_within
from pipeline.serve.guardrails.eligibility import admitted
from pipeline.serve.guardrails.sticky import STICKY, Ranking
from pipeline.serve.messages.decided import Context, Fallback, NoAnswer, Reason

Features = Mapping[str, Mapping[str, object]]
UNKNOWN_SEGMENT = "unknown"
FIRST_GENERATION = 1


class Asked(NamedTuple):
    """A request to decide, and what is known of it beside the snapshot."""

    policy: str
    context: Context
    """Raw fields."""
    eligible: Sequence[str] | None
    """Arms that the caller can show; None: all."""
    action_id: str
    """Names the decision; without a subject it also says whether the decision is held out."""
    now_ms: int
    """Event time of the decision."""
    subject_hash: str | None = None
    """The person, hashed."""
    switches: Switches | None = None
    """What is switched off, where it is known later than the snapshot's definition."""
    worn: Collection[str] = ()
    """Arms that the subject has seen too often (`guardrails/frequency.py`)."""
    age_ms: int = 0
    """How long ago the snapshot was published."""
    candidates: Features = NO_CANDIDATES
    """Arms that the request brings: their features, by arm."""
    declared: DeclaredFields = NOTHING_DECLARED
    """What of the request may be logged where there is no snapshot to say so."""

    @property
    def unit(self) -> str:
        """Return what is held out or not: the subject, or the action where there is none."""
        return self.subject_hash or self.action_id


@dataclass(slots=True, eq=False)
class Plan:
    """What an arm is drawn from, and whence; `choose.py` fills in the propensities."""

    asked: Asked
    snapshot: LoadedSnapshot | None
    """What decides; one and the same from here to the record."""
    segment: str
    arms: tuple[str, ...]
    propensities: list[float] | None = None
    """None: uniform."""
    context_vector: bytes = b""
    schema_hash: str = ""
    ignored: int = 0
    fallback: Fallback | None = None
    detail: str = ""
    undecodable: str = ""
    """Why there is no context vector, in a word; empty: there is one, or none is wanted."""
    is_held_out: bool = False
    is_analysis: bool = False
    """Of the analysis group: served as everybody, and not learned from."""
    guardrails: tuple[str, ...] = ()
    """Names of those that changed something."""
    ranking: Ranking | None = None
    """The person's own order of arms, where it is given one answer; None: the draw is by chance."""
    candidates: dict[str, tuple[float, ...]] = field(default_factory=dict)
    """Those that can be scored: their features in the policy's order, by arm."""

    def fall_back(self, fallback: Fallback, detail: str) -> None:
        """Note why the model can't be asked; the first reason stands."""
        if self.fallback is None:
            self.fallback, self.detail = fallback, detail

    @property
    def vector(self) -> list[float]:
        """Return what the arm is drawn from, in the order of `arms`; `choose.py` must have been here."""
        vector = self.propensities or [1.0 / len(self.arms)] * len(self.arms)
        if max(vector) > 1.0:  # a last bit of rounding, which a record refuses
            vector = [min(propensity, 1.0) for propensity in vector]
        return vector

    @property
    def reason(self) -> Reason:
        """Who is held out is so whatever else is amiss: the groups of a comparison must not depend on it."""
        return "holdout" if self.is_held_out else "policy" if self.fallback is None else "fallback"


def plan(snapshot: LoadedSnapshot | None, asked: Asked) -> Plan | NoAnswer:
    """Find the arms that may be shown to this subject in this context, and what keeps the model from being asked."""
    if snapshot is None:
        return _plan_blindly(asked)
    definition = snapshot.definition
    filled = definition.features.filled(asked.context, asked.now_ms)
    if filled is not asked.context:
        asked = asked._replace(context=filled)
    made = Plan(asked, snapshot, definition.segments.segment_for(asked.context), snapshot.active)
    made.ranking = _ranking(snapshot, asked)
    if made.ranking is not None:
        made.guardrails += (STICKY,)
    switches = asked.switches or definition.switches
    refusal = _narrow(made, snapshot, switches)
    if refusal is not None:
        return refusal
    _look_for_what_is_amiss(made, snapshot, switches)
    return made


def refusal_of(snapshot: LoadedSnapshot | None, policy: str, subject_hash: str | None) -> NoAnswer | None:
    """Return why nobody may be answered; None: somebody may. A plan can be asked for all the same."""
    assignment = None if snapshot is None else snapshot.definition.assignment
    if assignment is None or subject_hash or assignment.anonymous == "chance":
        return None
    return NoAnswer(
        "no-subject",
        f"policy {policy!r} gives a person one answer ([assignment]), and the request names nobody: send `subject`; or "
        'let requests without one be drawn for by chance: anonymous = "chance" in the policy',
    )


def _ranking(snapshot: LoadedSnapshot, asked: Asked) -> Ranking | None:
    """Return the order of arms of whom is asked for; None: its policy keeps no answers, or nobody is known."""
    assignment = snapshot.definition.assignment
    if assignment is None or not asked.subject_hash:
        return None
    epoch = assignment.epoch_of(snapshot.version, snapshot.event_time_ms)
    return Ranking(asked.subject_hash, snapshot.policy, epoch, assignment.salt)


def _plan_blindly(asked: Asked) -> Plan | NoAnswer:
    detail = f"this node has no snapshot of policy {asked.policy!r}"
    if asked.eligible is None and not asked.candidates:
        return NoAnswer(
            "no-snapshot",
            f"{detail}, so it knows no arm: send `eligible`, or apply the policy: pipeline policy apply FILE",
        )
    listed = {*(asked.eligible or ()), *asked.candidates}
    if not listed:
        return _nothing_eligible("the list is empty")
    made = Plan(asked, None, UNKNOWN_SEGMENT, tuple(sorted(listed)))
    made.fall_back("no-snapshot", f"{detail}: drawn uniformly from the list")
    return made


def _narrow(made: Plan, snapshot: LoadedSnapshot, switches: Switches) -> NoAnswer | None:
    """Leave the arms that may be shown to this subject in this context."""
    asked = made.asked
    if switches.arms and not set(switches.arms).isdisjoint(made.arms):
        made.arms = tuple(arm for arm in made.arms if arm not in switches.arms)
        made.guardrails += ("killed-arms",)
    if asked.candidates:
        _take_candidates(made, snapshot, switches)
    if asked.eligible is not None:
        _restrict(made, snapshot, frozenset(asked.eligible), switches)
        if not made.arms:
            seen = f"{made.ignored} of its arms are retired or killed" if made.ignored else "the list is empty"
            return _nothing_eligible(f"{seen}; {made.detail}" if made.detail else seen)
    rules = snapshot.definition.guardrails.eligibility
    if rules:
        arms = admitted(rules, asked.context, made.arms)
        if arms != made.arms:
            made.arms = arms
            made.guardrails += ("eligibility",)
    if not made.arms:
        return _nothing_eligible("every arm is killed, or refused by the policy's rules in this context")
    if asked.worn:
        fresh = tuple(arm for arm in made.arms if arm not in asked.worn)
        # Something is shown all the same, where the subject has seen everything too often.
        if fresh != made.arms:
            made.arms = fresh or made.arms
            made.guardrails += ("frequency" if fresh else "frequency-lifted",)
    return None


def _take_candidates(made: Plan, snapshot: LoadedSnapshot, switches: Switches) -> None:
    """Put the candidates that can be scored beside the arms; others are left out and counted, and the first is told."""
    brought, definition = made.asked.candidates, snapshot.definition
    all_features = None
    if definition.candidates is not None and brought.keys().isdisjoint((*definition.arm_set, *switches.arms)):
        all_features = all_features_within(definition.candidates.features, brought.values())
    if all_features is not None:  # as most are
        made.candidates = dict(zip(brought, all_features, strict=True))
    else:
        for arm, features in brought.items():
            try:
                made.candidates[arm] = _scorable(arm, features, definition, switches)
            except InvalidRecordError as error:
                made.ignored += 1
                made.detail = made.detail or f"candidate {arm!r} was left out: {error}"
    made.arms = tuple(sorted((*made.arms, *made.candidates)))


def _scorable(
    arm: str, features: Mapping[str, object], definition: PolicyDefinition, switches: Switches
) -> tuple[float, ...]:
    """Return a candidate's features in the policy's order. Raises InvalidRecordError."""
    if definition.candidates is None:
        raise InvalidRecordError("unknown-arm", f"policy {definition.name!r} has no [candidates]")
    if arm in definition.arm_set:
        raise InvalidRecordError("duplicate-arm", "the policy has an arm of that name: list it in `eligible`")
    if arm in switches.arms:
        raise InvalidRecordError("killed-arm", "it is killed")
    return features_within(definition.candidates.features, features)


def _restrict(made: Plan, snapshot: LoadedSnapshot, listed: frozenset[str], switches: Switches) -> None:
    known = tuple(arm for arm in made.arms if arm in listed or arm in made.candidates)
    if known or not listed:
        made.arms, made.ignored = known, made.ignored + len(listed) - (len(known) - len(made.candidates))
        return
    barred = listed.intersection((*snapshot.definition.arm_names, *switches.arms))
    made.arms, made.ignored = tuple(sorted(listed - barred)), len(barred)
    made.fall_back("no-known-arm", f"snapshot {snapshot.version} has none of the listed arms: drawn uniformly")


def _look_for_what_is_amiss(made: Plan, snapshot: LoadedSnapshot, switches: Switches) -> None:
    guardrails, asked = snapshot.definition.guardrails, made.asked
    holdout = guardrails.holdout
    if holdout is not None and is_within(holdout.share, asked.unit, "holdout", snapshot.policy, holdout.salt):
        made.is_held_out = True
        made.guardrails += ("holdout",)
        return
    analysis = snapshot.definition.analysis
    if analysis is not None:
        made.is_analysis = is_within(analysis.share, asked.unit, "analysis", snapshot.policy, analysis.salt)
    if switches.is_killed:
        made.fallback, made.detail = "killed", "the policy is killed: pipeline policy revive POLICY"
    elif 0 < guardrails.stale_after_ms <= asked.age_ms:
        made.fall_back("stale-snapshot", f"snapshot {snapshot.version} was published {asked.age_ms} ms ago")


def _nothing_eligible(seen: str) -> NoAnswer:
    return NoAnswer(
        "no-eligible-arm", f"`eligible` leaves nothing to show ({seen}): list an active arm, or leave it out"
    )
