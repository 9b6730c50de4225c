"""What a node would have drawn from in a log's situations, asked of the node's own functions.

What history doesn't tell of another policy is taken out of it and named: what its budget would have been spent on, how
often it would have shown an arm, and to whom.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from pipeline.evaluate.log import DecisionLog
from pipeline.policy.definition import PolicyDefinition
from pipeline.policy.guardrails import Switches
from pipeline.serve.decision.decide import consider
from pipeline.serve.decision.plan import Asked, Plan
from pipeline.serve.following.snapshot import LoadedSnapshot


class Askable(NamedTuple):
    """A policy as far as history can ask it."""

    definition: PolicyDefinition
    left_out: tuple[str, ...]
    """In words, what was taken out of it."""


def askable(definition: PolicyDefinition) -> Askable:
    """Take out what history can't tell."""
    rails, rollout = definition.guardrails, definition.rollout
    left_out = []
    if rails.budget is not None:
        left_out.append("its budget: what it would have spent by then is not in the log")
    left_out += [
        f"its cap on {cap.arm}: how often it would have shown it by then is not in the log" for cap in rails.caps
    ]
    if rails.frequency is not None:
        left_out.append("its frequency cap: what it would have shown the subject before is not in the log")
    if rails.stale_after_ms:
        left_out.append("its stale_after: how old its snapshots would have been is not in the log")
    if rollout is not None:
        left_out.append(
            f"its rollout ({rollout.mode} to {rollout.share:.4g} of {rollout.of}): it is asked to decide for everybody"
        )
    told = replace(rails, budget=None, caps=(), frequency=None, stale_after_ms=0)
    return Askable(replace(definition, guardrails=told, rollout=None), tuple(left_out))


def ask(
    snapshot: LoadedSnapshot, log: DecisionLog, places: Sequence[int], switches: Switches | None = None
) -> list[Plan | None]:
    """Return what the snapshot would draw from in some of the log's situations; None where it has nothing to show.

    The arms on offer are those of the log. `switches` is what is switched off, where that is known later than the
    snapshot's definition.
    """
    asked = [
        Asked(
            snapshot.policy,
            log.contexts[place],
            log.choices[log.offer[place]],
            log.action_of(place),
            int(log.decided_at_ms[place]),
            log.subject_of(place),
            switches,
        )
        for place in places
    ]
    return [made if isinstance(made, Plan) else None for made in consider(snapshot, asked)]
