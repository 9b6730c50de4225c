"""What a node says of itself: the policies that it decides for, its health, whether it should be sent traffic."""

from __future__ import annotations

from typing import Any

from msgspec import structs

from pipeline.serve.delivery.delivery import Delivery
from pipeline.serve.delivery.journal import Journal
from pipeline.serve.following.follower import SnapshotFollower
from pipeline.serve.messages.answers import LiveSnapshot, PolicyAnswer, ReadyAnswer


class Status:
    """Reads a node's parts when somebody asks; times are epoch milliseconds."""

    def __init__(self, follower: SnapshotFollower, delivery: Delivery, journal: Journal, ready_within_s: float) -> None:
        self._follower = follower
        self._delivery = delivery
        self._journal = journal
        self._ready_within_s = ready_within_s

    def policies(self, now_ms: int) -> list[PolicyAnswer]:
        """Return the policies that have a snapshot here."""
        return [
            PolicyAnswer(
                policy=policy,
                generation=snapshot.definition.generation,
                algorithm=snapshot.model.name,
                arms=list(snapshot.active),
                segments=sorted(snapshot.segments),
                features=[feature.name for feature in snapshot.definition.features.features],
                outcomes=[rule.kind for rule in snapshot.definition.reward.outcomes],
                floor=snapshot.definition.floors.least(snapshot.definition.floor, len(snapshot.active)),
                snapshot_version=snapshot.version,
                snapshot_id=snapshot.id,
                snapshot_age_ms=self._follower.age_ms(policy, now_ms),
                event_time_ms=snapshot.event_time_ms,
            )
            for policy, snapshot in sorted(self._follower.snapshots.items())
        ]

    def readiness(self, now_ms: int) -> ReadyAnswer:
        """Return whether the youngest snapshot is young enough."""
        ages_ms = [self._follower.age_ms(policy, now_ms) for policy in self._follower.snapshots]
        limit_s = self._ready_within_s
        follower = self._follower
        if ages_ms:
            age_s = min(ages_ms) / 1000.0
            is_ready = age_s <= limit_s
            detail = f"the youngest snapshot is {age_s:.1f} s old, {limit_s:g} s are allowed"
        else:
            is_ready, detail = False, "there is no snapshot yet"
        return ReadyAnswer(is_ready, detail, follower.refused, follower.last_refusal, sorted(follower.from_disk))

    def live_snapshots(self, now_ms: int) -> dict[str, LiveSnapshot]:
        """Return what decides, by policy."""
        return {
            policy: LiveSnapshot(
                version=snapshot.version,
                id=snapshot.id,
                age_ms=self._follower.age_ms(policy, now_ms),
                event_time_ms=snapshot.event_time_ms,
            )
            for policy, snapshot in sorted(self._follower.snapshots.items())
        }

    def health(self, now_ms: int) -> dict[str, Any]:
        """Return what an operator wants to see first."""
        snapshots = {policy: structs.asdict(live) for policy, live in self.live_snapshots(now_ms).items()}
        return {
            "status": "degraded"
            if self._delivery.is_failing or self._delivery.stuck
            else "ok"
            if snapshots
            else "no-snapshot",
            "snapshots": snapshots,
            "snapshots_refused": self._follower.refused,
            "answers": dict(self._journal.answers),
            "guardrails": dict(self._journal.guardrails),
            "undelivered": self._delivery.undelivered,
            "spilled": self._delivery.spilled,
            "delivered": self._delivery.delivered,
            "dropped": self._delivery.dropped,
            "lost": self._delivery.lost,
            "delivery_failures": self._delivery.failures,
            "stuck": [f"{topic}/{partition}" for topic, partition in self._delivery.stuck],
        }
