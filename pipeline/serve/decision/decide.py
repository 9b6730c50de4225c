"""Snapshot + context → arm, propensity, decision record. Pure: chance and time are arguments.

An arm is drawn from an explicit vector over the eligible arms, and the entry that was drawn is what is logged:

    plan.py     which arms may be shown, and whether the model may be asked
    choose.py   contexts become vectors, and the model is asked, once for all plans that are alike
    `draw_from` the draw, by chance or as the person's own (`guardrails/sticky.py`), and the record

What guardrails do to the vector stands in `guardrails/`; each that changed something is named in the record.

Where the model can't be asked there is a fallback, and what learns from it stays right:

| what is amiss                   | drawn from           | what JOIN makes of the decision                        |
|---------------------------------|----------------------|--------------------------------------------------------|
| no snapshot                     | the caller's list    | counts in segment `unknown` of generation 1, if JOIN   |
|                                 |                      | knows the arm and can encode the raw context           |
| no snapshot, no list            | nothing: `NoAnswer`  | there is none                                          |
| context can't be encoded        | the eligible arms    | logged raw, with why: in the ledger, its reports and   |
|                                 |                      | evaluations, and learned from once a replay reads it   |
| segment not in the snapshot     | the eligible arms    | counts in that segment; equal priors are uniform too   |
| the model finds no answer, or   | the eligible arms    | counts as usual                                        |
| raises whatever it may          |                      |                                                        |
| the policy is killed            | control, or the      | counts as usual                                        |
|                                 | eligible arms        |                                                        |
| the snapshot is older than the  | the same             | counts as usual                                        |
| policy's `stale_after`          |                      |                                                        |
| no arm of the list is known     | the caller's list    | counts if JOIN knows the arm by now, as when it was    |
|                                 | less retired arms    | added a moment ago; else a dead letter                 |
| a person is to be given one     | nothing: `NoAnswer`; | there is none; counts as usual                         |
| answer, and nobody is named     | by chance if allowed |                                                        |
| the list has retired arms only, | nothing: `NoAnswer`  | there is none                                          |
| or is empty, or no rule admits  |                      |                                                        |
| any arm                         |                      |                                                        |

Arms that a request brings (`candidates`) stand among the eligible ones where the policy has such; one that can't be
scored is left out, and counted as an entry of the list that is not known.

What is logged of the context and of candidates is what the policy declares (`policy/declared.py`): by the snapshot, or
where there is none by what `policies` has told; a node that knows neither logs no field.

A fallback is uniform, then under the same guardrails as a model's weights. An arm outside the caller's list, or one
that a rule refuses, is never answered: the caller may be unable, or not allowed, to show it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TypeGuard

import numpy as np

from pipeline.events import NO_CANDIDATES, Decision
from pipeline.models.chances.floor import draw
from pipeline.policy.declared import FLOAT64_HOLDS, NOTHING_DECLARED, DeclaredFields
from pipeline.policy.guardrails import Switches
from pipeline.serve.decision.choose import choose
from pipeline.serve.decision.plan import FIRST_GENERATION, Asked, Features, Plan, plan, refusal_of
from pipeline.serve.following.snapshot import LoadedSnapshot
from pipeline.serve.messages.decided import Context, Decided, Fallback, NoAnswer, Reason

__all__ = ["Context", "Decided", "Fallback", "NoAnswer", "Reason", "consider", "decide", "draw_from"]


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
    candidates: Features = NO_CANDIDATES,
    declared: DeclaredFields = NOTHING_DECLARED,
) -> Decided | NoAnswer:
    """Choose an arm by a snapshot of `policy` (None: there is none); `Asked` says what the rest is.

    See the module for what happens where the model can't be asked.
    """
    refusal = refusal_of(snapshot, policy, subject_hash)
    if refusal is not None:
        return refusal
    asked = Asked(
        policy, context, eligible, action_id, now_ms, subject_hash, switches, worn, age_ms, candidates, declared
    )
    (made,) = consider(snapshot, [asked])
    return made if isinstance(made, NoAnswer) else draw_from(made, rng.random())


def consider(snapshot: LoadedSnapshot | None, asked: Sequence[Asked]) -> list[Plan | NoAnswer]:
    """Return what an arm is drawn from for each request (`Plan.vector`): a decision short of the draw.

    Whoever wants to know what a node would do asks here: a simulation, an evaluation.
    """
    made = [plan(snapshot, one) for one in asked]
    choose([one for one in made if isinstance(one, Plan)])
    return made


def draw_from(made: Plan, u: float) -> Decided:
    """Draw the arm whose stretch of the propensities holds u, in [0, 1), or the person's own; and write the record."""
    asked, snapshot, arms = made.asked, made.snapshot, made.arms
    propensities = made.vector
    drawn = draw(propensities, u) if made.ranking is None else made.ranking.first(arms, propensities)
    declared = asked.declared if snapshot is None else snapshot.definition.declared
    decision = Decision(
        asked.action_id,
        asked.policy,
        FIRST_GENERATION if snapshot is None else snapshot.definition.generation,
        made.segment,
        arms[drawn],
        propensities[drawn],
        arms,
        propensities,
        declared.logged(asked.context),
        made.context_vector,
        made.schema_hash,
        asked.now_ms,
        0 if snapshot is None else snapshot.version,
        "" if snapshot is None else snapshot.id,
        asked.subject_hash,
        made.reason,
        made.guardrails,
        _told(made, declared) if asked.candidates else NO_CANDIDATES,
        made.is_analysis,
        made.undecodable,
    )
    return Decided(decision, made.ignored, made.fallback, made.detail)


def _told(made: Plan, declared: DeclaredFields) -> dict[str, Mapping[str, float]]:
    """Return what the candidates among the arms are like: what JOIN learns from."""
    snapshot, asked = made.snapshot, made.asked
    if snapshot is not None and snapshot.definition.candidates is not None:
        names = snapshot.definition.candidates.features
        return {arm: dict(zip(names, made.candidates[arm], strict=True)) for arm in made.arms if arm in made.candidates}
    return {
        arm: {
            name: float(value) for name, value in features.items() if name in declared.candidates and _is_finite(value)
        }
        for arm, features in asked.candidates.items()
        if arm in made.arms
    }


def _is_finite(value: object) -> TypeGuard[float]:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and -FLOAT64_HOLDS < value < FLOAT64_HOLDS  # type: ignore[operator]  # false for NaN
