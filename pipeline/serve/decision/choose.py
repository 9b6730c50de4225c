"""Second step of a decision: contexts become vectors, and the model is asked, once for all plans that are alike. Pure.

Plans of one snapshot, segment and set of arms are one question, with a row for each context. A single plan takes the
same way with one row, so a batch can't be decided by other rules.

Where a person is given one answer the question is about all active arms, whichever can be shown, and what can't is left
out of the answer: a model that is asked about fewer arms shares their weight out otherwise, and would move everybody.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.models.chances.floor import check_distribution
from pipeline.models.many_contexts import probabilities_many
from pipeline.policy.features import decode
from pipeline.serve.decision.plan import Plan
from pipeline.serve.following.snapshot import LoadedSnapshot
from pipeline.serve.guardrails.chain import Guarded
from pipeline.serve.guardrails.sticky import restricted
from pipeline.serve.pieces import Pieces, exhausted

Vectors = NDArray[np.int16]


def choose(plans: Sequence[Plan]) -> None:
    """Fill in the propensities of plans; each keeps the snapshot that it was made with."""
    exhausted(choosing(plans))


def choosing(plans: Sequence[Plan]) -> Pieces[None]:
    """Do what `choose` does, in pieces where candidates are brought."""
    if len(plans) == 1:
        if plans[0].snapshot is not None:
            yield from _choosing(plans[0].snapshot, plans)
        return
    of_snapshot: defaultdict[int, list[Plan]] = defaultdict(list)
    for plan in plans:
        of_snapshot[id(plan.snapshot)].append(plan)
    for alike in of_snapshot.values():
        snapshot = alike[0].snapshot
        if snapshot is not None:
            yield from _choosing(snapshot, alike)


def _choosing(snapshot: LoadedSnapshot, plans: Sequence[Plan]) -> Pieces[None]:
    vectors = _encode(snapshot, plans)
    control = snapshot.definition.guardrails.control
    questions: defaultdict[tuple[str, tuple[str, ...]], list[int]] = defaultdict(list)
    for row, plan in enumerate(plans):
        if plan.is_held_out or plan.fallback in {"killed", "stale-snapshot"}:
            plan.propensities = _certain(plan.arms, control)
        elif plan.fallback is None and plan.candidates:
            yield from _asking(snapshot, plan, vectors[row])
        elif plan.fallback is None:
            is_kept = snapshot.definition.assignment is not None
            questions[plan.segment, snapshot.active if is_kept else plan.arms].append(row)
    for (segment, arms), rows in questions.items():
        if len(rows) == 1 or not snapshot.needs_context:
            _ask_each(snapshot, arms, plans, vectors, rows)
        else:
            _ask(snapshot, segment, arms, plans, vectors, rows)
    for plan in plans:
        if plan.propensities is None and plan.fallback != "no-known-arm":
            _hold_uniform_within_bounds(plan, snapshot)


def _encode(snapshot: LoadedSnapshot, plans: Sequence[Plan]) -> Vectors:
    """Note each plan's context vector, or why there is none; return them, (m, d)."""
    definition = snapshot.definition
    vectors, errors = definition.features.encode_many([plan.asked.context for plan in plans])
    width, raw = 2 * definition.dimension, vectors.astype("<i2", copy=False).tobytes()
    for row, (plan, error) in enumerate(zip(plans, errors, strict=True)):
        if error is not None:
            plan.undecodable = error.reason
            plan.fall_back("unencodable-context", str(error))
            continue
        plan.context_vector = raw[row * width : (row + 1) * width]
        plan.schema_hash = definition.schema_hash
        if plan.segment not in snapshot.segments and not plan.is_held_out:
            plan.fall_back("unknown-segment", f"snapshot {snapshot.version} has no segment {plan.segment!r}")
    return vectors


def _certain(arms: tuple[str, ...], control: str) -> list[float] | None:
    """Return the control arm for certain; where it can't be shown, nothing, which is uniform."""
    return [float(arm == control) for arm in arms] if control in arms else None


def _ask(
    snapshot: LoadedSnapshot,
    segment: str,
    arms: tuple[str, ...],
    plans: Sequence[Plan],
    vectors: Vectors,
    rows: Sequence[int],
) -> None:
    """Ask for all rows at once; those that have no answer so are asked alone, which tells why."""
    try:
        weights = probabilities_many(snapshot.model, snapshot.segments[segment].of(arms), decode(vectors[rows]))
        times_ms = [plans[row].asked.now_ms for row in rows]
        guarded = snapshot.guards.apply_many(segment, arms, weights, times_ms)
    except Exception:  # noqa: BLE001  one context may have made all of them fail
        _ask_each(snapshot, arms, plans, vectors, rows)
        return
    unanswered = []
    for row, (propensities, acted) in zip(rows, guarded, strict=True):
        try:
            check_distribution(propensities)
        except ValueError:
            unanswered.append(row)
        else:
            _take(plans[row], arms, propensities, acted)
    _ask_each(snapshot, arms, plans, vectors, unanswered)


def _ask_each(
    snapshot: LoadedSnapshot, arms: tuple[str, ...], plans: Sequence[Plan], vectors: Vectors, rows: Iterable[int]
) -> None:
    for row in rows:
        plan = plans[row]
        try:
            _hold(plan, arms, snapshot.guarded(plan.segment, arms, vectors[row], plan.asked.now_ms))
        except Exception as error:  # noqa: BLE001  whatever a model does wrong, there is an answer (law 10)
            _fail(plan, error)


def _asking(snapshot: LoadedSnapshot, plan: Plan, vector: NDArray[np.int16]) -> Pieces[None]:
    """Ask about the candidates of one plan, and the arms beside them."""
    try:
        guarded = yield from snapshot.guarding(plan.segment, plan.arms, vector, plan.asked.now_ms, plan.candidates)
        _hold(plan, plan.arms, guarded)
    except Exception as error:  # noqa: BLE001  as above
        _fail(plan, error)


def _hold(plan: Plan, arms: tuple[str, ...], guarded: Guarded) -> None:
    """Take what was answered, if it is a distribution. Raises ValueError."""
    propensities, acted = guarded
    # A list of some dozens is sooner summed than an array.
    check_distribution(listed := propensities.tolist())
    _take(plan, arms, listed, acted)


def _fail(plan: Plan, error: Exception) -> None:
    plan.fall_back("model-failed", str(error) or type(error).__name__)


def _take(plan: Plan, arms: tuple[str, ...], propensities: list[float], acted: tuple[str, ...]) -> None:
    """Note what was answered of some arms: of those that can be shown, where it was asked about more."""
    plan.propensities = propensities if arms == plan.arms else restricted(arms, propensities, plan.arms)
    plan.guardrails += acted


def _hold_uniform_within_bounds(plan: Plan, snapshot: LoadedSnapshot) -> None:
    """Put what is drawn without a model under the guardrails too; the holdout's uniform draw is left as it is."""
    if plan.is_held_out or not snapshot.guards.shape_uniform:
        return
    even = np.full(len(plan.arms), 1.0 / len(plan.arms))
    propensities, acted = snapshot.guards.apply(plan.segment, plan.arms, even, plan.asked.now_ms)
    plan.propensities = propensities.tolist()
    plan.guardrails += acted
