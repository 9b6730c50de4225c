"""Which policy decides: the one that is asked, or one that is to follow it (`[rollout]`).

Chance, time and what the node remembers of subjects are arguments.

A policy in mode `serve` decides for its share of the subjects, the same ones on every node and after every restart;
a share that grows keeps whom it has. Its decisions are logged under its own name, and it learns from them alone. One in
mode `shadow` decides for its share beside, and what it says is logged apart. Whom the policy that is asked holds out
it keeps. Where the follower is killed or stale, or has no arm for the caller, the policy that is asked decides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from pipeline.events import Decision
from pipeline.policy.guardrails import Switches
from pipeline.serve.decide import Context, Decided, NoAnswer, decide
from pipeline.serve.guardrails.assignment import is_within
from pipeline.serve.guardrails.frequency import SubjectMemory
from pipeline.serve.snapshot import LoadedSnapshot

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

    def is_killed(self, policy: str) -> bool:
        """Whether the policy is switched off."""
        switches = self.switches.get(policy) or self.snapshots[policy].definition.switches
        return switches.is_killed


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked."""

    policy: str
    context: Context
    eligible: Sequence[str] | None
    action_id: str
    now_ms: int
    subject_hash: str | None = None

    @property
    def unit(self) -> str:
        """Return what is assigned: the subject, or the action where there is none."""
        return self.subject_hash or self.action_id


def answer(known: Known, request: Request, rng: np.random.Generator) -> Decided | NoAnswer:
    """Let the policy decide whose turn it is, and those in its shadow."""
    serving, shadowing = followers(known, request)
    for name in serving[:1]:
        decided = _decide(known, request, name, rng)
        if isinstance(decided, Decided) and decided.fallback not in NOT_FOR_IT:
            decision = _named(decided.decision, f"rollout:{request.policy}")
            return _shown(known, request, replace(decided, decision=decision), shadowing, rng)
    decided = _decide(known, request, request.policy, rng)
    return decided if isinstance(decided, NoAnswer) else _shown(known, request, decided, shadowing, rng)


def followers(known: Known, request: Request) -> tuple[list[str], list[str]]:
    """Return the policies that are to follow the one asked and whose share the subject is in: to serve, to shadow."""
    named = sorted(name for name, one in known.snapshots.items() if _follows(one, request.policy))
    if not named or _is_held_out(known, request):
        return [], []
    within = [name for name in named if not known.is_killed(name) and _is_in_share(known.snapshots[name], request)]
    shadowing = [name for name in within if _mode(known.snapshots[name]) == "shadow"]
    return [name for name in within if name not in shadowing], shadowing


def _follows(snapshot: LoadedSnapshot, policy: str) -> bool:
    rollout = snapshot.definition.rollout
    return rollout is not None and rollout.of == policy


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


def _decide(known: Known, request: Request, policy: str, rng: np.random.Generator) -> Decided | NoAnswer:
    snapshot = known.snapshots.get(policy)
    frequency = None if snapshot is None else snapshot.definition.guardrails.frequency
    subject, now_ms = request.subject_hash, request.now_ms
    return decide(
        snapshot,
        policy,
        request.context,
        request.eligible,
        rng=rng,
        action_id=request.action_id,
        now_ms=now_ms,
        subject_hash=subject,
        switches=known.switches.get(policy),
        worn=() if frequency is None or subject is None else known.memory.worn(policy, subject, frequency, now_ms),
        age_ms=0 if snapshot is None else known.age_ms(policy, now_ms),
    )


def _shown(
    known: Known, request: Request, decided: Decided, shadowing: Sequence[str], rng: np.random.Generator
) -> Decided:
    """Remember what is shown, and ask those in the shadow."""
    decision = decided.decision
    snapshot = known.snapshots.get(decision.policy)
    frequency = None if snapshot is None else snapshot.definition.guardrails.frequency
    if frequency is not None and request.subject_hash is not None:
        known.memory.note(decision.policy, request.subject_hash, decision.arm, frequency, request.now_ms)
    beside = (_decide(known, request, name, rng) for name in shadowing)
    shadows = tuple(_named(one.decision, f"shadow:{request.policy}") for one in beside if isinstance(one, Decided))
    return replace(decided, shadows=shadows) if shadows else decided


def _named(decision: Decision, guardrail: str) -> Decision:
    return decision._replace(guardrails=(*decision.guardrails, guardrail))
