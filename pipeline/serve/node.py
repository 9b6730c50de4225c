"""A serving node: decides from the live snapshots, and logs decisions and outcomes.

A decision and its outcomes have one key, the action_id, and so one partition, where JOIN finds them together.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Self

import numpy as np

from pipeline.codec import avro
from pipeline.events import Outcome
from pipeline.outcome_id import kept_id
from pipeline.publish.signing import read_verifier
from pipeline.serve.batching import GO_COST, Turn, Waiter
from pipeline.serve.deciding import Deciding
from pipeline.serve.decision.rollout import Known, Request
from pipeline.serve.delivery.delivery import Delivery
from pipeline.serve.delivery.journal import Journal, check_size
from pipeline.serve.delivery.spill_folder import SpillFolder
from pipeline.serve.following.follower import OnLive, SnapshotFollower
from pipeline.serve.following.kept import KeptSnapshots
from pipeline.serve.following.snapshot import LoadedSnapshot
from pipeline.serve.following.switches import SwitchFollower
from pipeline.serve.guardrails.frequency import SubjectMemory
from pipeline.serve.ids import TimeOrderedIds
from pipeline.serve.intake import Intake
from pipeline.serve.messages.answers import Explanation, LiveSnapshot, PolicyAnswer, ReadyAnswer
from pipeline.serve.messages.bodies import DecideBody, OutcomeBody, kept_identifier
from pipeline.serve.messages.decided import Decided, NoAnswer
from pipeline.serve.pieces import Made, Pieces, exhausted
from pipeline.serve.settings import ServeSettings
from pipeline.serve.status import Status
from pipeline.stream.log.topics import OUTCOMES
from pipeline.stream.supervise import end, supervise

log = logging.getLogger(__name__)

FEW = 8
"""Outcomes that are taken at once: no longer than to read what they are."""


class ServingNode:
    """One node; it starts without waiting for a broker, and answers from the first moment."""

    def __init__(
        self, settings: ServeSettings, *, rng: np.random.Generator | None = None, on_live: OnLive | None = None
    ) -> None:
        self.settings = settings
        self._switches = SwitchFollower(settings.broker)
        self.follower = SnapshotFollower(
            settings.broker,
            on_live,
            verifier=None if settings.snapshot_keys is None else read_verifier(settings.snapshot_keys),
            kept=None
            if settings.snapshot_dir is None
            else KeptSnapshots(settings.snapshot_dir, settings.snapshot_bytes),
            is_known=self._switches.is_known,
        )
        spill = None if settings.spill_dir is None else SpillFolder(settings.spill_dir, settings.spill_bytes)
        self.delivery = Delivery(settings.broker, settings.buffer_bytes, spill=spill)
        self.journal = Journal(self.delivery, settings.recent_bytes, self._is_known)
        self.outcomes_taken = 0
        """Outcomes logged."""
        known = Known(
            self.follower.snapshots, self._switches.switches, SubjectMemory(), self._age_ms, self._switches.fields
        )
        # Seeded by the system, so no two nodes draw alike.
        self._deciding = Deciding(known, self.journal, rng or np.random.default_rng())
        self._turn: Turn[Request, Decided | NoAnswer] = Turn(self._deciding.go)
        self._intake = Intake(TimeOrderedIds(secrets.token_bytes), settings.subject_salt)
        self._status = Status(self.follower, self.delivery, self.journal, settings.ready_within_s)
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Begin to follow and to deliver; what an earlier process kept is live before anybody asks."""
        await self.follower.take_kept()
        self._tasks = [
            asyncio.create_task(supervise(self.follower.follow), name="follow-snapshots"),
            asyncio.create_task(supervise(self._switches.follow), name="follow-switches"),
            asyncio.create_task(supervise(self.delivery.deliver), name="deliver"),
        ]
        self._to_disk = [
            asyncio.create_task(self.delivery.sync(), name="sync-spill"),
            asyncio.create_task(self.follower.keep(), name="keep-snapshots"),
        ]

    async def stop(self) -> None:
        """Deliver what waits, within the time that the settings give, keep the rest on disk, and disconnect.

        Raises:
            ConfigError: what made the node fail, if it has.
        """
        try:
            with suppress(TimeoutError):
                await asyncio.wait_for(self.flush(), self.settings.drain_timeout_s)
        finally:
            await end((*self._tasks, *self._to_disk))
            await asyncio.to_thread(self.follower.keep_now)
            lost = self.delivery.close()
            if lost:
                log.error("records-abandoned count=%s", lost)
            elif self.delivery.undelivered:
                log.warning("records-kept count=%s folder=%s", self.delivery.undelivered, self.settings.spill_dir)

    def renew_salt(self, subject_salt: str) -> None:
        """Hash subjects with another salt from now on."""
        self._intake.renew_salt(subject_salt)

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
        candidates: Mapping[str, Mapping[str, float]] | None = None,
        *,
        caller: str = "",
    ) -> Decided | NoAnswer:
        """Choose an arm, and log the decision; callers take turns.

        An action_id that is asked for again is given its first answer, while this node remembers it.

        Raises:
            InvalidRecordError: out-of-range, wrong-type, record-too-large (no record could carry this),
                subject-not-accepted (without a salt), or action-id-taken (by another policy's decision).
        """
        await self._room()
        asked = DecideBody(context, eligible, subject, action_id, candidates)
        cost = self.cost_of(policy, asked)
        if cost <= GO_COST:
            return await self._turn.ask(self._intake.request(policy, asked, _now_ms()), caller, cost)
        return await self._turn.work(self._deciding_alone(policy, asked), caller)

    def put(self, policy: str, asked: DecideBody, waiter: Waiter[Decided | NoAnswer], caller: str, cost: int) -> None:
        """Do what `decide` does, for who waits in another way, and never for room.

        Raises:
            InvalidRecordError: as `decide` does; or the waiter is told.
        """
        if cost <= GO_COST:
            self._turn.put(self._intake.request(policy, asked, _now_ms()), waiter, caller, cost)
        else:
            self._turn.put_work(self._deciding_alone(policy, asked), waiter, caller)

    async def decide_many(
        self, policy: str, requests: Sequence[DecideBody], *, caller: str = ""
    ) -> list[Decided | NoAnswer]:
        """Choose an arm for each request, all by one snapshot, and log the decisions: all of them, or none.

        Raises:
            InvalidRecordError: as `decide` does, by the first request that can't be taken.
        """
        await self._room()
        return await self._turn.work(self._deciding_many(policy, requests), caller)

    def cost_of(self, policy: str, request: DecideBody) -> int:
        """Return what a decision costs, in those among few arms."""
        eligible, brought = request.eligible, request.candidates
        return self._deciding.cost(
            policy, None if eligible is None else len(eligible), 0 if brought is None else len(brought)
        )

    def arms(self, policy: str) -> int:
        """Return how many arms a policy has here."""
        return self._deciding.arms(policy)

    async def in_turn(self, pieces: Pieces[Made], caller: str) -> Made:
        """Have a long work done as the caller's turns come."""
        return await self._turn.work(pieces, caller)

    def later(self, done: Callable[[], None], caller: str) -> None:
        """Have a short thing done when the caller's turn comes."""
        self._turn.later(done, caller)

    def _deciding_alone(self, policy: str, asked: DecideBody) -> Pieces[Decided | NoAnswer]:
        request = self._intake.request(policy, asked, _now_ms())
        yield
        return (yield from self._deciding.alone(request))

    def _deciding_many(self, policy: str, requests: Sequence[DecideBody]) -> Pieces[list[Decided | NoAnswer]]:
        kept_identifier("policy", policy)
        now_ms = _now_ms()
        asked: list[Request] = []
        for request in requests:
            asked.append(self._intake.request(policy, request, now_ms))
            yield
        return (yield from self._deciding.batch(asked))

    def explaining(
        self,
        policy: str,
        context: Mapping[str, object],
        eligible: Sequence[str] | None = None,
        candidates: Mapping[str, Mapping[str, float]] | None = None,
    ) -> Pieces[Explanation | NoAnswer]:
        """Tell what would be decided, and why; nothing is logged."""
        request = self._intake.request(policy, DecideBody(context, eligible, candidates=candidates), _now_ms())
        return (yield from self._deciding.explaining(request))

    def explaining_decision(self, action_id: str) -> Pieces[Explanation | None]:
        """Tell why a decision of this node was what it was, while it is remembered."""
        return self.journal.explaining(action_id)

    def expires_at_ms(self, answer: Decided) -> int | None:
        """Return until when an outcome of a decision counts, if the snapshot that made it is held."""
        return self.journal.expires_at_ms(answer)

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
        (taken,) = await self.take_outcomes([OutcomeBody(action_id, kind, value, outcome_id, occurred_at_ms)])
        return taken

    async def take_outcomes(self, told: Iterable[OutcomeBody], *, count: int = 1, caller: str = "") -> list[str]:
        """Log outcomes, all or none; return their ids. `count`: about how many they are.

        Raises:
            InvalidRecordError: out-of-range, wrong-type, value-not-finite.
        """
        await self._room()
        pieces = self._taking(told)
        return exhausted(pieces) if count <= FEW else await self._turn.work(pieces, caller)

    def _taking(self, told: Iterable[OutcomeBody]) -> Pieces[list[str]]:
        now_ms = _now_ms()
        taken: list[tuple[Outcome, bytes]] = []
        for each in told:
            outcome = self._intake.outcome(each, now_ms)
            kept = outcome._replace(outcome_id=kept_id(outcome.outcome_id, outcome.action_id))
            record = avro.encode("outcome", kept._asdict())
            check_size(record)
            taken.append((outcome, record))
            yield
        for outcome, record in taken:
            self.delivery.send(OUTCOMES, outcome.action_id.encode(), record)
        self.outcomes_taken += len(taken)
        return [outcome.outcome_id for outcome, _ in taken]

    def policies(self) -> list[PolicyAnswer]:
        """Return the policies that have a snapshot here."""
        return self._status.policies(_now_ms())

    def readiness(self) -> ReadyAnswer:
        """Return whether the youngest snapshot is young enough."""
        return self._status.readiness(_now_ms())

    def live_snapshots(self) -> dict[str, LiveSnapshot]:
        """Return what decides, by policy."""
        return self._status.live_snapshots(_now_ms())

    def health(self) -> dict[str, Any]:
        """Return what an operator wants to see first."""
        return self._status.health(_now_ms())

    async def _room(self) -> None:
        if self.settings.when_full == "slow":
            await self.delivery.wait_for_room(self.settings.slow_s)

    def _is_known(self, policy: str) -> bool:
        return policy in self.follower.snapshots or self._switches.is_known(policy)

    def _age_ms(self, policy: str, now_ms: int) -> int:
        return self.follower.age_ms(policy, now_ms)

    def _raise_failure(self) -> None:
        for task in self._tasks:
            if task.done() and not task.cancelled():
                task.result()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
