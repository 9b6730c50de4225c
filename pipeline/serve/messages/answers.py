"""What HTTP answers carry: the types that the OpenAPI page is made of, and that answers are written by."""

from __future__ import annotations

from collections.abc import Container
from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from pipeline.serve.messages.bodies import PARTS
from pipeline.serve.messages.decided import Decided


class DecidedAnswer(Struct, frozen=True):
    """An arm to show, and all that it was drawn from."""

    action_id: Annotated[str, Meta(description="Names the decision; its outcomes refer to it.")]
    arm: Annotated[str, Meta(description="The arm to show.")]
    propensity: Annotated[float, Meta(description="P(arm | context, snapshot): its entry of `probabilities`.")]
    snapshot_version: Annotated[int, Meta(description="The snapshot that decided; 0: none.")]
    reason: Annotated[str, Meta(description="policy, or why the policy was not asked.")]
    expires_at_ms: Annotated[int | None, Meta(description="No outcome counts that occurs later; null: not known.")]
    probabilities: (
        Annotated[dict[str, float], Meta(description="Every eligible arm's propensity; they sum to 1.")] | UnsetType
    ) = UNSET
    ranking: (
        Annotated[list[str], Meta(description="The eligible arms by falling propensity, for showing a list.")]
        | UnsetType
    ) = UNSET
    segment: Annotated[str, Meta(description="The part of the traffic that it counts in.")] | UnsetType = UNSET
    snapshot_id: Annotated[str, Meta(description="SHA-256 of the snapshot's content.")] | UnsetType = UNSET
    guardrails: (
        Annotated[list[str], Meta(description="What changed the probabilities, or who decides.")] | UnsetType
    ) = UNSET
    ignored: Annotated[int, Meta(description="Entries of `eligible` that are unknown or retired.")] | UnsetType = UNSET
    claim: (
        Annotated[str, Meta(description="What an outcome has to bring, where the caller's key needs it.")] | UnsetType
    ) = UNSET
    fallback: Annotated[str, Meta(description="What kept the policy from deciding.")] | UnsetType = UNSET
    detail: Annotated[str, Meta(description="The same in words.")] | UnsetType = UNSET


class ErrorAnswer(Struct, frozen=True):
    """Why a request was not served."""

    error: Annotated[str, Meta(description="A word of a closed set.")]
    detail: Annotated[str, Meta(description="What was seen, what is expected, what to do.")]


class BatchAnswer(Struct, frozen=True):
    """The answer to one request of a batch: one of the two."""

    decided: DecidedAnswer | UnsetType = UNSET
    refused: ErrorAnswer | UnsetType = UNSET


class DecidedManyAnswer(Struct, frozen=True):
    """One answer a request, in order."""

    answers: list[BatchAnswer]


class OutcomeAnswer(Struct, frozen=True):
    """The outcome was taken."""

    outcome_id: str


class OutcomesAnswer(Struct, frozen=True):
    """All outcomes were taken, in order."""

    outcome_ids: list[str]


class PolicyAnswer(Struct, frozen=True):
    """A policy that this node decides for."""

    policy: str
    generation: Annotated[int, Meta(description="Which statistics it learns in.")]
    algorithm: str
    arms: Annotated[list[str], Meta(description="Arms that can be chosen.")]
    segments: list[str]
    features: Annotated[list[str], Meta(description="Fields of the context that it learns from.")]
    outcomes: Annotated[list[str], Meta(description="Kinds of outcome that count.")]
    floor: Annotated[float, Meta(description="Smallest propensity of an eligible arm.")]
    snapshot_version: int
    snapshot_id: str
    snapshot_age_ms: int
    event_time_ms: Annotated[int, Meta(description="What was learned is complete up to here.")]


class PoliciesAnswer(Struct, frozen=True):
    """All policies that have a snapshot here."""

    policies: list[PolicyAnswer]


class LiveSnapshot(Struct, frozen=True):
    """The snapshot that decides for a policy."""

    version: int
    id: str
    age_ms: Annotated[int, Meta(description="Since it was published, by the broker's clock.")]
    event_time_ms: int


class KeyUse(Struct, frozen=True):
    """An API key."""

    name: str
    last_used_ms: Annotated[int | None, Meta(description="Since this node started; null: not at all.")]
    expires_at_ms: int | None


class HealthAnswer(Struct, frozen=True):
    """The node is alive; the rest is for operators."""

    status: Literal["ok", "degraded", "no-snapshot"]
    snapshots: dict[str, LiveSnapshot] | UnsetType = UNSET
    snapshots_refused: Annotated[int, Meta(description="Records that could not be loaded.")] | UnsetType = UNSET
    answers: Annotated[dict[str, int], Meta(description="Decisions by what decided.")] | UnsetType = UNSET
    guardrails: Annotated[dict[str, int], Meta(description="Decisions that each changed.")] | UnsetType = UNSET
    undelivered: Annotated[int, Meta(description="Records that wait for the broker.")] | UnsetType = UNSET
    spilled: Annotated[int, Meta(description="Those of them that wait on disk.")] | UnsetType = UNSET
    delivered: int | UnsetType = UNSET
    dropped: Annotated[int, Meta(description="Records that were shed.")] | UnsetType = UNSET
    lost: Annotated[int, Meta(description="Records that its disk kept, and can't give back.")] | UnsetType = UNSET
    delivery_failures: int | UnsetType = UNSET
    stuck: (
        Annotated[list[str], Meta(description="Partitions (topic/number) that take nothing while others do.")]
        | UnsetType
    ) = UNSET
    keys: list[KeyUse] | UnsetType = UNSET


class ReadyAnswer(Struct, frozen=True):
    """Whether the node should be sent traffic."""

    is_ready: bool
    detail: str
    snapshots_refused: Annotated[int, Meta(description="Snapshots that were not what the publisher sends.")] = 0
    last_refusal: Annotated[str, Meta(description="Where the last of them stands, and what is wrong with it.")] = ""
    from_disk: Annotated[list[str], Meta(description="Policies that are decided by what a restart found on disk.")] = []


class FeatureEffect(Struct, frozen=True):
    """What one feature does to an arm in this context."""

    feature: str
    effect: Annotated[float, Meta(description="The arm's mean, less what it would be were the feature's entries 0.")]


class ArmExplanation(Struct, frozen=True):
    """What is thought of one arm."""

    arm: str
    probability: Annotated[float, Meta(description="Its propensity.")]
    mean: Annotated[float | None, Meta(description="Posterior mean, in reward units; null: not known.")]
    low: Annotated[float | None, Meta(description="Lower end of the 95 % interval.")]
    high: float | None
    features: Annotated[list[FeatureEffect], Meta(description="What moved the mean, the largest effect first.")]


class Explanation(Struct, frozen=True):
    """Why the probabilities are what they are."""

    policy: str
    segment: str
    reason: str
    snapshot_version: int
    snapshot_id: str
    floor: Annotated[float | None, Meta(description="Smallest propensity of an eligible arm; null: not known.")]
    guardrails: Annotated[list[str], Meta(description="What changed the probabilities, or who decides.")]
    arms: Annotated[list[ArmExplanation], Meta(description="The likeliest first.")]
    fallback: Annotated[str, Meta(description="What kept the policy from deciding.")] | UnsetType = UNSET
    detail: Annotated[str, Meta(description="What is missing here, and why.")] | UnsetType = UNSET
    measured: Annotated[str, Meta(description="What a rule without parameters has measured.")] | UnsetType = UNSET
    action_id: Annotated[str, Meta(description="The decision that is explained.")] | UnsetType = UNSET
    arm: Annotated[str, Meta(description="What was drawn.")] | UnsetType = UNSET
    propensity: float | UnsetType = UNSET
    decided_at_ms: int | UnsetType = UNSET


def decided_answer(
    answer: Decided, expires_at_ms: int | None, claim: str | None = None, fields: Container[str] = PARTS
) -> DecidedAnswer:
    """Return the body that tells a decision; `detail` says why the model was not asked."""
    decision = answer.decision
    probabilities = answer.probabilities if "probabilities" in fields or "ranking" in fields else {}
    return DecidedAnswer(
        action_id=decision.action_id,
        arm=decision.arm,
        propensity=decision.propensity,
        probabilities=probabilities if "probabilities" in fields else UNSET,
        # Eligible arms stand by name, and a sort is stable: equal ones rank by name.
        ranking=sorted(probabilities, key=probabilities.__getitem__, reverse=True) if "ranking" in fields else UNSET,
        segment=decision.segment if "segment" in fields else UNSET,
        snapshot_version=decision.snapshot_version,
        snapshot_id=decision.snapshot_id if "snapshot_id" in fields else UNSET,
        reason=decision.reason,
        guardrails=list(decision.guardrails) if "guardrails" in fields else UNSET,
        ignored=answer.ignored if "ignored" in fields else UNSET,
        claim=claim or UNSET,
        expires_at_ms=expires_at_ms,
        fallback=answer.fallback or UNSET,
        detail=answer.detail if answer.fallback else UNSET,
    )
