"""A serving node: decides from the live snapshots, and logs decisions and outcomes.

A decision and its outcomes have one key, the action_id, and so one partition, where JOIN finds them together.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np

from pipeline.codec import avro
from pipeline.codec.wire import MAX_RECORD_BYTES
from pipeline.errors import InvalidRecordError
from pipeline.events import outcome_from
from pipeline.serve.bodies import identifier, identifiers
from pipeline.serve.decide import Decided, NoAnswer
from pipeline.serve.delivery import Delivery
from pipeline.serve.follower import OnLive, SnapshotFollower
from pipeline.serve.guardrails.frequency import SubjectMemory
from pipeline.serve.ids import RANDOM_BYTES, time_ordered_id
from pipeline.serve.rollout import Known, Request
from pipeline.serve.rollout import answer as answer_request
from pipeline.serve.settings import ServeSettings
from pipeline.serve.snapshot import LoadedSnapshot
from pipeline.serve.subject import hash_subject
from pipeline.serve.switches import SwitchFollower
from pipeline.stream.topics import DECISIONS, OUTCOMES, SHADOW_DECISIONS

log = logging.getLogger(__name__)


class ServingNode:
    """One node; it starts without waiting for a broker, and answers from the first moment."""

    def __init__(
        self, settings: ServeSettings, *, rng: np.random.Generator | None = None, on_live: OnLive | None = None
    ) -> None:
        self.settings = settings
        self.follower = SnapshotFollower(settings.broker, on_live)
        self.delivery = Delivery(settings.broker, settings.buffer_bytes)
        self.answers: Counter[str] = Counter()
        """Decisions by `policy`, `holdout` or what they fell back from, and answers that could not be given."""
        self.guardrails: Counter[str] = Counter()
        """Decisions that each guardrail changed."""
        self._switches = SwitchFollower(settings.broker)
        self._known = Known(self.follower.snapshots, self._switches.switches, SubjectMemory(), self._age_ms)
        # Seeded by the system, so no two nodes draw alike.
        self._rng = rng or np.random.default_rng()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Begin to follow and to deliver."""
        self._tasks = [
            asyncio.create_task(self.follower.follow(), name="follow-snapshots"),
            asyncio.create_task(self._switches.follow(), name="follow-switches"),
            asyncio.create_task(self.delivery.deliver(), name="deliver"),
        ]

    async def stop(self) -> None:
        """Deliver what waits, within the time that the settings give, and disconnect.

        Raises:
            ConfigError: what made the node fail, if it has.
        """
        try:
            await asyncio.wait_for(self.flush(), self.settings.drain_timeout_s)
        except TimeoutError:
            log.error("records-abandoned count=%s", self.delivery.undelivered)  # noqa: TRY400  no trace is needed
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def flush(self) -> None:
        """Wait until every record was acknowledged.

        Raises:
            ConfigError: none ever will be.
        """
        flushing = asyncio.create_task(self.delivery.flush())
        try:
            await asyncio.wait({flushing, *self._tasks}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            flushing.cancel()
        self._raise_failure()

    async def run(self) -> None:
        """Wait for ever.

        Raises:
            ConfigError: the node can't do its work.
        """
        await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        self._raise_failure()

    async def wait_ready(self, policy: str, version: int = 1) -> LoadedSnapshot:
        """Wait until the policy has a live snapshot of at least this version."""
        return await self.follower.wait_ready(policy, version)

    async def decide(
        self,
        policy: str,
        context: Mapping[str, object],
        eligible: Sequence[str] | None = None,
        subject: str | None = None,
        action_id: str | None = None,
    ) -> Decided | NoAnswer:
        """Choose an arm, and log the decision.

        Ask once for an action_id: a second answer may differ, and JOIN refuses it as a conflicting duplicate.

        Raises:
            InvalidRecordError: out-of-range, wrong-type, record-too-large (no record could carry this), or
                subject-not-accepted (without a salt).
        """
        now_ms = _now_ms()
        request = Request(
            identifier("policy", policy),
            context,
            None if eligible is None else identifiers("eligible", eligible),
            _new_id(now_ms) if action_id is None else identifier("action_id", action_id),
            now_ms,
            None if subject is None else self._hash_of(identifier("subject", subject)),
        )
        answer = answer_request(self._known, request, self._rng)
        if isinstance(answer, NoAnswer):
            self.answers[f"none.{answer.reason}"] += 1
            return answer
        self._log_record(DECISIONS, answer.decision.action_id, avro.encode("decision", answer.decision._asdict()))
        for shadow in answer.shadows:
            self._log_record(SHADOW_DECISIONS, shadow.action_id, avro.encode("decision", shadow._asdict()))
        self._count(answer)
        return answer

    async def outcome(
        self,
        action_id: str,
        kind: str,
        value: float = 1.0,
        outcome_id: str | None = None,
        occurred_at_ms: int | None = None,
    ) -> str:
        """Log an outcome; return its id. One that may be told twice needs an id of the caller's own.

        Raises:
            InvalidRecordError: out-of-range, wrong-type, value-not-finite.
        """
        now_ms = _now_ms()
        outcome = outcome_from(
            {
                "outcome_id": _new_id(now_ms) if outcome_id is None else identifier("outcome_id", outcome_id),
                "action_id": identifier("action_id", action_id),
                "kind": identifier("kind", kind),
                "value": value,
                "occurred_at_ms": now_ms if occurred_at_ms is None else occurred_at_ms,
            }
        )
        self._log_record(OUTCOMES, action_id, avro.encode("outcome", outcome._asdict()))
        return outcome.outcome_id

    def health(self) -> dict[str, Any]:
        """Return what an operator wants to see first."""
        now_ms = _now_ms()
        snapshots = {
            policy: {
                "version": snapshot.version,
                "id": snapshot.id,
                "age_ms": self.follower.age_ms(policy, now_ms),
                "event_time_ms": snapshot.event_time_ms,
            }
            for policy, snapshot in sorted(self.follower.snapshots.items())
        }
        return {
            "status": "degraded" if self.delivery.is_failing else "ok" if snapshots else "no-snapshot",
            "snapshots": snapshots,
            "snapshots_refused": self.follower.refused,
            "answers": dict(self.answers),
            "guardrails": dict(self.guardrails),
            "undelivered": self.delivery.undelivered,
            "delivered": self.delivery.delivered,
            "dropped": self.delivery.dropped,
            "delivery_failures": self.delivery.failures,
        }

    def _count(self, answer: Decided) -> None:
        self.answers[answer.fallback or answer.reason] += 1
        for name in answer.decision.guardrails:
            self.guardrails[name] += 1

    def _age_ms(self, policy: str, now_ms: int) -> int:
        return self.follower.age_ms(policy, now_ms)

    def _hash_of(self, subject: str) -> str:
        if not self.settings.subject_salt:
            # Answering without the hash would log what nobody could find again to erase.
            raise InvalidRecordError(
                "subject-not-accepted",
                "this node has no salt to hash `subject` with: start it with --subject-salt, or leave the subject out",
            )
        return hash_subject(subject, self.settings.subject_salt)

    def _log_record(self, topic: str, action_id: str, value: bytes) -> None:
        if len(value) > MAX_RECORD_BYTES:
            raise InvalidRecordError(
                "record-too-large", f"{len(value)} bytes, expected at most {MAX_RECORD_BYTES}: send a smaller context"
            )
        self.delivery.send(topic, action_id.encode(), value)

    def _raise_failure(self) -> None:
        for task in self._tasks:
            if task.done() and not task.cancelled():
                task.result()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _new_id(now_ms: int) -> str:
    return time_ordered_id(now_ms, secrets.token_bytes(RANDOM_BYTES))
