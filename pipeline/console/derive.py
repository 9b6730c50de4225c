"""A decision, made again by the snapshot that it names, and what it earned, told again from its outcomes. Pure.

It is asked of the node's own functions. What they go by and the log does not hold (how much of a budget was spent, what
a subject had seen, how old the snapshot was) is named: where it can matter, another result is no difference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from pipeline.evaluate.asking import askable
from pipeline.events import Decision
from pipeline.policy.definition import PolicyDefinition
from pipeline.replay.proof.sample import can_be_judged, record_fault
from pipeline.serve.decision.decide import consider
from pipeline.serve.decision.plan import Asked, Plan
from pipeline.serve.following.snapshot import LoadedSnapshot
from pipeline.serve.guardrails.sticky import STICKY

TOLERANCE = 1e-9
"""Linear algebra libraries differ in the last bits of a probability."""

Answer = Literal["equal", "different", "not told"]


class Check(NamedTuple):
    """One thing that was looked at."""

    what: str
    logged: str
    again: str
    answer: Answer
    why: str = ""
    """Where it is not told: why."""


def decision_checks(decision: Decision, snapshot: LoadedSnapshot | None) -> list[Check]:
    """Return what of a decision was derived again; None: its snapshot is not kept any more, or there was none."""
    found = [_sums_to_one(decision), _drawn(decision)]
    if snapshot is None:
        why = (
            "no snapshot made it: it is a fallback"
            if not decision.snapshot_version
            else "its snapshot is not kept any more"
        )
        return [*found, Check("probabilities", _numbers(decision.probabilities), "", "not told", why)]
    same_id = snapshot.id == decision.snapshot_id
    found.append(Check("snapshot", decision.snapshot_id[:16], snapshot.id[:16], "equal" if same_id else "different"))
    if decision.candidates:
        found.append(Check("probabilities", "", "", "not told", "the request brought arms of its own"))
        return found
    (made,) = consider(
        snapshot,
        [
            Asked(
                decision.policy,
                decision.context,
                decision.eligible,
                decision.action_id,
                decision.decided_at_ms,
                decision.subject_hash,
            )
        ],
    )
    if not isinstance(made, Plan):
        return [*found, Check("probabilities", _numbers(decision.probabilities), "no arm", "different")]
    unknown = _unknown(snapshot.definition, decision)
    found.append(_told("segment", decision.segment, made.segment, ""))
    if made.context_vector or decision.context_vector:
        found.append(_told("context vector", decision.context_vector.hex(), made.context_vector.hex(), ""))
    found.append(_told("reason", decision.reason, made.reason, unknown))
    found.append(_probabilities(decision, made, unknown))
    if made.ranking is not None and STICKY in decision.guardrails and decision.probabilities:
        own = decision.eligible[made.ranking.first(decision.eligible, decision.probabilities)]
        found.append(_told(f"arm of the subject in epoch {made.ranking.epoch}", decision.arm, own, ""))
    return found


def reward_check(record: Mapping[str, Any], definition: PolicyDefinition | None) -> Check:
    """Return whether a ledger record's reward is what its outcomes come to."""
    seen = f"{record['reward'] / 2 ** record['reward_exponent']:g}"
    what = f"reward of revision {record['revision']}"
    if record["is_erased"]:
        return Check(what, "erased", "", "not told", "the person was forgotten, and their outcomes with them")
    if definition is None or not can_be_judged(record, definition):
        return Check(what, seen, "", "not told", "it was counted by rules that are not in force any more")
    fault = record_fault(record, definition)
    if fault is None:
        return Check(what, seen, seen, "equal")
    return Check(f"{what}: {fault.where}", fault.published, fault.recomputed, "different")


def _sums_to_one(decision: Decision) -> Check:
    total = sum(decision.probabilities)
    if not decision.probabilities:
        return Check("sum of probabilities", "", "", "not told", "the decision was logged without them")
    return Check("sum of probabilities", f"{total:.12g}", "1", "equal" if abs(total - 1.0) < TOLERANCE else "different")


def _drawn(decision: Decision) -> Check:
    entries = dict(zip(decision.eligible, decision.probabilities, strict=False))
    seen = f"{decision.propensity:.9g}"
    if decision.arm not in entries:
        return Check("propensity of the arm", seen, "", "not told", "the decision was logged without probabilities")
    again = entries[decision.arm]
    answer: Answer = "equal" if abs(again - decision.propensity) < TOLERANCE else "different"
    return Check("propensity of the arm", seen, f"{again:.9g}", answer)


def _probabilities(decision: Decision, made: Plan, unknown: str) -> Check:
    again = made.vector
    is_close = tuple(made.arms) == tuple(decision.eligible) and all(
        abs(one - other) < TOLERANCE for one, other in zip(again, decision.probabilities, strict=False)
    )
    return _judged("probabilities", _numbers(decision.probabilities), _numbers(again), unknown, is_equal=is_close)


def _told(what: str, logged: str, again: str, unknown: str) -> Check:
    return _judged(what, logged, again, unknown, is_equal=logged == again)


def _judged(what: str, logged: str, again: str, unknown: str, *, is_equal: bool) -> Check:
    if is_equal:
        return Check(what, logged, again, "equal")
    return Check(what, logged, again, "not told" if unknown else "different", unknown)


def _unknown(definition: PolicyDefinition, decision: Decision) -> str:
    """Say in words what may have mattered and is not in the log."""
    left_out: Sequence[str] = askable(definition).left_out
    if decision.reason == "fallback":
        left_out = [*left_out, "it is a fallback: what was amiss at the node is not in the log"]
    if "killed" in decision.guardrails:
        left_out = [*left_out, "something was switched off meanwhile"]
    return "; ".join(left_out)


def _numbers(values: Sequence[float]) -> str:
    shown = ", ".join(f"{one:.6g}" for one in values[:12])
    return f"{shown}, and {len(values) - 12} more" if len(values) > 12 else shown
