"""Which policy decides: the one that is asked, or one that is to follow it (`[rollout]`).

Chance, time and what the node remembers of subjects are arguments.

A policy in mode `serve` decides for its share of the subjects, the same ones on every node and after every restart;
a share that grows keeps whom it has. Its decisions are logged under its own name, and it learns from them alone. One in
mode `shadow` decides for its share beside, and what it says is logged apart. For the share of one in mode `apprentice`
the policy that is asked draws, and the decision is logged under the apprentice's name: with the vector that it was
drawn from, and the apprentice's own segment and encoded context. So it learns from what the other shows, by true
propensities. Where it can't (another arm, a context that it can't encode), the decision is the other's. Whom the policy
that is asked holds out it keeps. Where the follower is killed or stale, or has no arm for the caller, the policy that
is asked decides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from pipeline.events import NO_CANDIDATES, Decision
from pipeline.policy.declared import NOTHING_DECLARED, DeclaredFields
from pipeline.policy.guardrails import Switches
from pipeline.serve.decision.choose import choose, choosing
from pipeline.serve.decision.decide import draw_from
from pipeline.serve.decision.plan import Asked, Features, Plan, plan, refusal_of
from pipeline.serve.following.snapshot import LoadedSnapshot
from pipeline.serve.guardrails.assignment import is_within
from pipeline.serve.guardrails.frequency import SubjectMemory
from pipeline.serve.messages.decided import Context, Decided, NoAnswer
from pipeline.serve.pieces import Pieces, exhausted

NOT_FOR_IT = frozenset({"killed", "stale-snapshot", "no-known-arm"})


@dataclass(frozen=True, slots=True)
class Known:
    """What a node knows when it is asked."""

    snapshots: Mapping[str, LoadedSnapshot]
    """By policy."""
    switches: Mapping[str, Switches] = field(default_factory=dict)
    """By policy: what is switched off, where it is known later than by the snapshot."""
    memory: SubjectMemory = field(default_factory=SubjectMemory)
    """What subjects were shown."""
    age_ms: Callable[[str, int], int] = lambda _policy, _now_ms: 0
    """Age of a policy's snapshot at a time."""
    declared: Mapping[str, DeclaredFields] = field(default_factory=dict)
    """By policy: what of a request may be logged, where there is no snapshot to say so."""

    def is_killed(self, policy: str) -> bool:
        """Whether the policy is switched off."""
        switches = self.switches.get(policy) or self.snapshots[policy].definition.switches
        return switches.is_killed


class Request(NamedTuple):
    """What is asked."""

    policy: str
    context: Context
    eligible: Sequence[str] | None
    action_id: str
    now_ms: int
    subject_hash: str | None = None
    candidates: Features = NO_CANDIDATES
    """Arms that it brings: their features, by arm."""

    @property
    def unit(self) -> str:
        """Return what is assigned: the subject, or the action where there is none."""
        return self.subject_hash or self.action_id


def answer(known: Known, request: Request, rng: np.random.Generator) -> Decided | NoAnswer:
    """Let the policy decide whose turn it is, and those in its shadow."""
    return exhausted(answering(known, request, rng))


def answering(known: Known, request: Request, rng: np.random.Generator) -> Pieces[Decided | NoAnswer]:
    """Do what `answer` does, in pieces: `known` must stay as it is between them."""
    turn = _turn(known, request)
    if isinstance(turn, NoAnswer):
        return turn
    for each in turn.plans:
        yield
        yield from choosing([each])
    yield
    return _settle(known, turn, rng)


def answer_many(known: Known, requests: Sequence[Request], rng: np.random.Generator) -> list[Decided | NoAnswer]:
    """Answer requests as `answer` does one after another, but each model is asked once for all of them."""
    answers: list[Decided | NoAnswer] = []
    turn: list[Request] = []
    subjects: set[str] = set()
    for request in requests:
        subject = request.subject_hash
        if subject is not None:
            if subject in subjects:  # what it is shown by the former says what it may be shown by this one
                answers += _answer_turn(known, turn, rng)
                turn, subjects = [], set()
            subjects.add(subject)
        turn.append(request)
    return answers + _answer_turn(known, turn, rng)


class _Turn(NamedTuple):
    """A request on its way."""

    of: str
    """The policy that is asked."""
    plan: Plan
    named: str
    """What the record says of who decides, if another policy does."""
    shadows: Sequence[Plan]
    apprentice: Plan | None = None
    """Under whose name it is logged, with what the plan is drawn from."""

    @property
    def plans(self) -> Sequence[Plan]:
        """Return all that are asked."""
        return (self.plan, *self.shadows, *(() if self.apprentice is None else (self.apprentice,)))


def _answer_turn(known: Known, requests: Sequence[Request], rng: np.random.Generator) -> list[Decided | NoAnswer]:
    turns = [_turn(known, request) for request in requests]
    choose([one for turn in turns if not isinstance(turn, NoAnswer) for one in turn.plans])
    return [turn if isinstance(turn, NoAnswer) else _settle(known, turn, rng) for turn in turns]


def _turn(known: Known, request: Request) -> _Turn | NoAnswer:
    serving, shadowing, apprentices = followers(known, request)
    for name in serving[:1]:
        made = _plan(known, request, name)
        if isinstance(made, Plan) and made.fallback not in NOT_FOR_IT:
            return _Turn(request.policy, made, f"rollout:{request.policy}", _shadows(known, request, shadowing))
    made = _plan(known, request, request.policy)
    if isinstance(made, NoAnswer):
        return made
    apprentice = next((_apprentice(known, request, name, made) for name in apprentices), None)
    return _Turn(request.policy, made, "", _shadows(known, request, shadowing), apprentice)


def _apprentice(known: Known, request: Request, name: str, master: Plan) -> Plan | None:
    """Return the plan of an apprentice that may learn from what another plan is drawn from; None where it may not."""
    made = _plan(known, request, name)
    if isinstance(made, NoAnswer) or made.fallback in NOT_FOR_IT or made.is_held_out or request.candidates:
        return None
    arms = known.snapshots[name].definition.arm_set
    return made if master.snapshot is not None and all(arm in arms for arm in master.arms) else None


def _logged_plan(turn: _Turn) -> Plan:
    """Return what is drawn from and logged: the master's vector, by the apprentice's name, segment and context."""
    apprentice, master = turn.apprentice, turn.plan
    if apprentice is None or apprentice.fallback == "unencodable-context":
        return master
    return replace(
        apprentice,
        arms=master.arms,
        propensities=master.vector,
        ranking=master.ranking,
        fallback=master.fallback,
        detail=master.detail,
        ignored=master.ignored,
        guardrails=(*master.guardrails, f"apprentice:{turn.of}"),
    )


def _shadows(known: Known, request: Request, shadowing: Sequence[str]) -> Sequence[Plan]:
    if not shadowing:
        return ()
    beside = (_plan(known, request, name) for name in shadowing)
    return [made for made in beside if isinstance(made, Plan)]


def _settle(known: Known, turn: _Turn, rng: np.random.Generator) -> Decided:
    """Draw, and remember what is shown."""
    asked = turn.plan.asked
    decided = draw_from(_logged_plan(turn), rng.random())
    snapshot = turn.plan.snapshot
    frequency = None if snapshot is None else snapshot.definition.guardrails.frequency
    if frequency is not None and asked.subject_hash is not None:
        known.memory.note(asked.policy, asked.subject_hash, decided.arm, frequency, asked.now_ms)
    if turn.named:
        decided = replace(decided, decision=_named(decided.decision, turn.named))
    if turn.shadows:
        shadow = f"shadow:{turn.of}"
        drawn = (draw_from(one, rng.random()) for one in turn.shadows)
        decided = replace(decided, shadows=tuple(_named(one.decision, shadow) for one in drawn))
    return decided


def followers(known: Known, request: Request) -> tuple[list[str], list[str], list[str]]:
    """Return the policies that are to follow the one asked and whose share the subject is in.

    They are those that serve, that shadow and that are apprentices.
    """
    named = [name for name, one in known.snapshots.items() if one.follows == request.policy]
    if not named or _is_held_out(known, request):
        return [], [], []
    within = [
        name for name in sorted(named) if not known.is_killed(name) and _is_in_share(known.snapshots[name], request)
    ]
    serving, shadowing, apprentices = (
        [name for name in within if _mode(known.snapshots[name]) == mode] for mode in ("serve", "shadow", "apprentice")
    )
    return serving, shadowing, apprentices


def _mode(snapshot: LoadedSnapshot) -> str:
    rollout = snapshot.definition.rollout
    return "" if rollout is None else rollout.mode


def _is_in_share(snapshot: LoadedSnapshot, request: Request) -> bool:
    rollout = snapshot.definition.rollout
    return rollout is not None and is_within(rollout.share, request.unit, "rollout", snapshot.policy, rollout.salt)


def _is_held_out(known: Known, request: Request) -> bool:
    asked = known.snapshots.get(request.policy)
    holdout = None if asked is None else asked.definition.guardrails.holdout
    return holdout is not None and is_within(holdout.share, request.unit, "holdout", request.policy, holdout.salt)


def _plan(known: Known, request: Request, policy: str) -> Plan | NoAnswer:
    snapshot = known.snapshots.get(policy)
    frequency = None if snapshot is None else snapshot.definition.guardrails.frequency
    subject, now_ms = request.subject_hash, request.now_ms
    refusal = refusal_of(snapshot, policy, subject)
    if refusal is not None:
        return refusal
    asked = Asked(
        policy,
        request.context,
        request.eligible,
        request.action_id,
        now_ms,
        subject,
        known.switches.get(policy),
        () if frequency is None or subject is None else known.memory.worn(policy, subject, frequency, now_ms),
        0 if snapshot is None else known.age_ms(policy, now_ms),
        request.candidates,
        known.declared.get(policy, NOTHING_DECLARED),
    )
    return plan(snapshot, asked)


def _named(decision: Decision, guardrail: str) -> Decision:
    return decision._replace(guardrails=(*decision.guardrails, guardrail))
