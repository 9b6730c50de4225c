"""Why a decision was what it was: what the snapshot thinks of each arm in this context. Pure.

The effect of a feature on an arm is the arm's posterior mean less what it would be were the feature's entries of the
context vector 0. For a linear model that is the feature's part of θᵀx, and the parts sum to the mean; for others it
is what the feature moves with all the others as they are. The intercept is shown as a feature of that name.
"""

from __future__ import annotations

import numpy as np
from msgspec import UNSET
from numpy.typing import NDArray

from pipeline.models.model import Estimates, Measures, Posterior
from pipeline.policy.features import decode
from pipeline.serve.following.snapshot import LoadedSnapshot
from pipeline.serve.messages.answers import ArmExplanation, Explanation, FeatureEffect
from pipeline.serve.messages.decided import Decided
from pipeline.serve.pieces import Pieces, exhausted

Effects = list[tuple[str, NDArray[np.float64]]]
"""Of features: what each adds to the mean, by the arm's place."""


def explain(decided: Decided, snapshot: LoadedSnapshot | None) -> Explanation:
    """Explain a decision at once, as `explaining` does."""
    return exhausted(explaining(decided, snapshot))


def explaining(decided: Decided, snapshot: LoadedSnapshot | None) -> Pieces[Explanation]:
    """Explain a decision by the snapshot that made it, in pieces; None: there was none, or it is no longer held."""
    decision = decided.decision
    estimates, effects = yield from _beliefs(decided, snapshot)
    arms: list[ArmExplanation] = []
    for place, (arm, probability) in enumerate(zip(decision.eligible, decision.probabilities, strict=True)):
        arms.append(
            ArmExplanation(
                arm=arm,
                probability=probability,
                mean=None if estimates is None else float(estimates.mean[place]),
                low=None if estimates is None else float(estimates.low[place]),
                high=None if estimates is None else float(estimates.high[place]),
                features=_largest_first(effects, place),
            )
        )
        yield
    return Explanation(
        policy=decision.policy,
        segment=decision.segment,
        reason=decision.reason,
        snapshot_version=decision.snapshot_version,
        snapshot_id=decision.snapshot_id,
        guardrails=list(decision.guardrails),
        floor=None if snapshot is None else _least(snapshot, len(decision.eligible)),
        arms=sorted(arms, key=lambda arm: (-arm.probability, arm.arm)),
        fallback=decided.fallback or UNSET,
        detail=_detail(decided, snapshot) or UNSET,
        measured=_measured(decision.segment, snapshot) or UNSET,
        action_id=decision.action_id,
        arm=decision.arm,
        propensity=decision.propensity,
        decided_at_ms=decision.decided_at_ms,
    )


def _measured(segment: str, snapshot: LoadedSnapshot | None) -> str:
    if snapshot is None or segment not in snapshot.segments or not isinstance(snapshot.model, Measures):
        return ""
    return snapshot.model.measured(snapshot.segments[segment].posterior)


def _least(snapshot: LoadedSnapshot, arms: int) -> float:
    definition = snapshot.definition
    return definition.floors.least(definition.floor, arms)


def _detail(decided: Decided, snapshot: LoadedSnapshot | None) -> str:
    if decided.detail:
        return decided.detail
    version = decided.decision.snapshot_version
    if snapshot is None and version:
        return f"snapshot {version} is no longer held here: see `pipeline snapshot show --version {version}`"
    return ""


def _beliefs(decided: Decided, snapshot: LoadedSnapshot | None) -> Pieces[tuple[Estimates | None, Effects]]:
    decision = decided.decision
    if snapshot is None or decision.segment not in snapshot.segments:
        return None, []
    segment = snapshot.segments[decision.segment]
    if not all(arm in segment.index or arm in decision.candidates for arm in decision.eligible):
        return None, []
    if not snapshot.needs_context:
        return snapshot.estimates_of(decision.segment, tuple(decision.eligible)), []
    candidates = {arm: tuple(features.values()) for arm, features in decision.candidates.items()}
    posterior = segment.of(tuple(decision.eligible), candidates)
    yield
    vector = np.frombuffer(decision.context_vector, "<i2")
    if len(vector) != snapshot.definition.dimension:  # the context could not be encoded
        return None, []
    estimates = snapshot.model.estimates(posterior, decode(vector))
    yield
    return estimates, (yield from _effects(snapshot, posterior, vector, estimates))


def _effects(
    snapshot: LoadedSnapshot, posterior: Posterior, vector: NDArray[np.int16], estimates: Estimates
) -> Pieces[Effects]:
    """Return what each feature that is not 0 does to the arms; one evaluation of the model for each."""
    moved: Effects = []
    for name, entries in snapshot.definition.features.entries():
        if not vector[entries].any():
            continue
        without = vector.copy()
        without[entries] = 0
        mean = snapshot.model.estimates(posterior, decode(without)).mean
        moved.append((name, estimates.mean - mean))
        yield
    return moved


def _largest_first(effects: Effects, place: int) -> list[FeatureEffect]:
    """Return what moved one arm."""
    return sorted(
        (FeatureEffect(name, float(effect[place])) for name, effect in effects),
        key=lambda each: (-abs(each.effect), each.feature),
    )
