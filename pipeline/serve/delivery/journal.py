"""What a node has decided: logged, kept for a while to be explained, and counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from pipeline.codec import avro
from pipeline.codec.decision_writer import encode_decision
from pipeline.codec.wire import MAX_RECORD_BYTES
from pipeline.errors import InvalidRecordError
from pipeline.events import decision_from
from pipeline.metrics.bounded import BoundedCounts
from pipeline.serve.decision.explain import explaining
from pipeline.serve.delivery.delivery import Delivery
from pipeline.serve.delivery.recent import RecentDecision, RecentDecisions, RecentSnapshots
from pipeline.serve.following.snapshot import LoadedSnapshot
from pipeline.serve.messages.answers import Explanation
from pipeline.serve.messages.decided import Decided, NoAnswer
from pipeline.serve.pieces import Pieces
from pipeline.stream.log.topics import DECISIONS, SHADOW_DECISIONS

MOST_REASONS, MOST_ARMS = 2_000, 5_000
"""Rows of labels that are told apart to Prometheus: 200 policies, or one of 1,000 arms in five segments."""
UNKNOWN = "(unknown)"


class Written(NamedTuple):
    """An answer with its records, ready to be logged."""

    asked: str
    """The policy that was asked."""
    answer: Decided | NoAnswer
    snapshot: LoadedSnapshot | None = None
    record: bytes = b""
    """The decision; empty: there is none, or it is logged."""
    shadows: tuple[bytes, ...] = ()


class Journal:
    """Decisions on their way to the log, and the latest of them."""

    def __init__(self, delivery: Delivery, recent_bytes: int, is_known: Callable[[str], bool] = lambda _: True) -> None:
        self.answers: Counter[str] = Counter()
        """Decisions by `policy`, `holdout` or what they fell back from, and answers that could not be given."""
        self.guardrails: Counter[str] = Counter()
        """Decisions that each guardrail changed."""
        self.decisions = BoundedCounts(MOST_REASONS)
        """By policy and the same words."""
        self.unanswered = BoundedCounts(MOST_REASONS)
        """By policy, and why there was nothing to show."""
        self.arms = BoundedCounts(MOST_ARMS)
        """Decisions by policy, segment and arm."""
        self._is_known = is_known
        self._delivery = delivery
        self._recent = RecentDecisions(recent_bytes)
        self._snapshots = RecentSnapshots(recent_bytes)

    def write(self, asked: str, answer: Decided | NoAnswer, snapshot: LoadedSnapshot | None) -> Written:
        """Write the records of an answer of the policy that was asked, made by `snapshot`; log none yet.

        Raises:
            InvalidRecordError: record-too-large (no record could carry this).
        """
        if isinstance(answer, NoAnswer):
            return Written(asked, answer, snapshot)
        record = encode_decision(answer.decision)
        check_size(record)
        if not answer.shadows:
            return Written(asked, answer, snapshot, record)
        shadows = tuple(encode_decision(shadow) for shadow in answer.shadows)
        for each in shadows:
            check_size(each)
        return Written(asked, answer, snapshot, record, shadows)

    def recall(self, asked: str, action_id: str) -> Written | None:
        """Return the answer that an action was given while it is remembered; there is nothing more to log of it.

        Raises:
            InvalidRecordError: action-id-taken, by a decision of another policy.
        """
        recent = self._recent.get(action_id)
        if recent is None:
            return None
        if recent.asked != asked:
            raise InvalidRecordError(
                "action-id-taken", f"action_id {action_id} is a decision of {recent.asked}: an action has one decision"
            )
        decision = decision_from(avro.decode_as("decision", recent.record))
        return Written(asked, Decided(decision, recent.ignored, recent.fallback, recent.detail))

    def note(self, written: Written) -> None:
        """Log an answer, and count it."""
        asked, answer, snapshot, record, shadows = written
        if isinstance(answer, NoAnswer):
            self.answers[f"none.{answer.reason}"] += 1
            self.unanswered.add((self._label(asked), answer.reason))
            return
        if not record:
            return
        decision = answer.decision
        key = decision.action_id.encode()
        self._delivery.send(DECISIONS, key, record)
        for shadow in shadows:
            self._delivery.send(SHADOW_DECISIONS, key, shadow)
        kept = RecentDecision(record, answer.fallback, answer.detail, written.asked, answer.ignored)
        self._recent.keep(decision.action_id, kept)
        if snapshot is not None:
            self._snapshots.keep(snapshot)
        reason = answer.fallback or answer.reason
        self.answers[reason] += 1
        policy = self._label(decision.policy)
        self.decisions.add((policy, reason))
        if snapshot is not None:
            self.arms.add((policy, decision.segment, decision.arm))
        for name in decision.guardrails:
            self.guardrails[name] += 1

    def _label(self, policy: str) -> str:
        """Return the policy's name, if there is one: a caller's word is no label."""
        return policy if self._is_known(policy) else UNKNOWN

    def explaining(self, action_id: str) -> Pieces[Explanation | None]:
        """Tell why a decision of this node was what it was, while it is remembered."""
        recent = self._recent.get(action_id)
        if recent is None:
            return None
        decision = decision_from(avro.decode_as("decision", recent.record))
        snapshot = self._snapshots.get(decision.policy, decision.snapshot_version)
        return (yield from explaining(Decided(decision, 0, recent.fallback, recent.detail), snapshot))

    def expires_at_ms(self, answer: Decided) -> int | None:
        """Return until when an outcome of a decision counts, if the snapshot that made it is held."""
        decision = answer.decision
        snapshot = self._snapshots.get(decision.policy, decision.snapshot_version)
        return None if snapshot is None else snapshot.definition.close_for(decision.decided_at_ms)


def check_size(record: bytes) -> None:
    """Raise InvalidRecordError (record-too-large) unless the topics can carry a record."""
    if len(record) > MAX_RECORD_BYTES:
        raise InvalidRecordError(
            "record-too-large", f"{len(record)} bytes, expected at most {MAX_RECORD_BYTES}: send a smaller context"
        )
