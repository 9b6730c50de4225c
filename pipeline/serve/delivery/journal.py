"""What a node has decided: logged, kept for a while to be explained, and counted."""

from __future__ import annotations

from collections import Counter

from pipeline.codec import avro
from pipeline.codec.decision_writer import encode_decision
from pipeline.codec.wire import MAX_RECORD_BYTES
from pipeline.errors import InvalidRecordError
from pipeline.events import Decision, decision_from
from pipeline.serve.decision.explain import explain
from pipeline.serve.delivery.delivery import Delivery
from pipeline.serve.delivery.recent import RecentDecision, RecentDecisions, RecentSnapshots
from pipeline.serve.following.snapshot import LoadedSnapshot
from pipeline.serve.messages.answers import Explanation
from pipeline.serve.messages.decided import Decided, NoAnswer
from pipeline.stream.log.topics import DECISIONS, SHADOW_DECISIONS


class Journal:
    """Decisions on their way to the log, and the latest of them."""

    def __init__(self, delivery: Delivery, recent_bytes: int) -> None:
        self.answers: Counter[str] = Counter()
        """Decisions by `policy`, `holdout` or what they fell back from, and answers that could not be given."""
        self.guardrails: Counter[str] = Counter()
        """Decisions that each guardrail changed."""
        self._delivery = delivery
        self._recent = RecentDecisions(recent_bytes)
        self._snapshots = RecentSnapshots(recent_bytes)

    def note(self, answer: Decided | NoAnswer, snapshot: LoadedSnapshot | None) -> None:
        """Log an answer, made by `snapshot` if that is known.

        Raises:
            InvalidRecordError: record-too-large (no record could carry this).
        """
        if isinstance(answer, NoAnswer):
            self.answers[f"none.{answer.reason}"] += 1
            return
        decision = answer.decision
        record = self._log(DECISIONS, decision)
        for shadow in answer.shadows:
            self._log(SHADOW_DECISIONS, shadow)
        self._recent.keep(decision.action_id, RecentDecision(record, answer.fallback, answer.detail))
        if snapshot is not None:
            self._snapshots.keep(snapshot)
        self.answers[answer.fallback or answer.reason] += 1
        for name in decision.guardrails:
            self.guardrails[name] += 1

    def explain(self, action_id: str) -> Explanation | None:
        """Tell why a decision of this node was what it was, while it is remembered."""
        recent = self._recent.get(action_id)
        if recent is None:
            return None
        decision = decision_from(avro.decode_as("decision", recent.record))
        snapshot = self._snapshots.get(decision.policy, decision.snapshot_version)
        return explain(Decided(decision, 0, recent.fallback, recent.detail), snapshot)

    def expires_at_ms(self, answer: Decided) -> int | None:
        """Return until when an outcome of a decision counts, if the snapshot that made it is held."""
        decision = answer.decision
        snapshot = self._snapshots.get(decision.policy, decision.snapshot_version)
        return None if snapshot is None else snapshot.definition.close_for(decision.decided_at_ms)

    def _log(self, topic: str, decision: Decision) -> bytes:
        record = encode_decision(decision)
        check_size(record)
        self._delivery.send(topic, decision.action_id.encode(), record)
        return record


def check_size(record: bytes) -> None:
    """Raise InvalidRecordError (record-too-large) unless the topics can carry a record."""
    if len(record) > MAX_RECORD_BYTES:
        raise InvalidRecordError(
            "record-too-large", f"{len(record)} bytes, expected at most {MAX_RECORD_BYTES}: send a smaller context"
        )
