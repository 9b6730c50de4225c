"""What callers send → what is decided and logged: checked, named, and with nobody's raw id in it. Pure."""

from __future__ import annotations

from pipeline.errors import InvalidRecordError
from pipeline.events import MAX_CLOCK_SKEW_MS, MILLISECONDS_FROM, Outcome, far_future, outcome_from, wrong_unit
from pipeline.serve.decision.rollout import Request
from pipeline.serve.ids import TimeOrderedIds
from pipeline.serve.messages.bodies import DecideBody, OutcomeBody, candidates, identifier, identifiers, kept_identifier
from pipeline.serve.subject import hash_subject


class Intake:
    """Names what has no name yet, by `ids`, and hashes subjects with a salt; without one it accepts none."""

    def __init__(self, ids: TimeOrderedIds, subject_salt: str) -> None:
        self._ids = ids
        self._subject_salt = subject_salt

    def renew_salt(self, subject_salt: str) -> None:
        """Hash with another salt from now on."""
        self._subject_salt = subject_salt

    def request(self, policy: str, asked: DecideBody, now_ms: int) -> Request:
        """Return what is asked of a policy.

        Raises:
            InvalidRecordError: out-of-range, wrong-type, subject-not-accepted.
        """
        return Request(
            kept_identifier("policy", policy),
            asked.context,
            None if asked.eligible is None else identifiers("eligible", asked.eligible),
            self._ids.next(now_ms) if asked.action_id is None else kept_identifier("action_id", asked.action_id),
            now_ms,
            None if asked.subject is None else self._hash_of(identifier("subject", asked.subject)),
            candidates(asked.candidates),
        )

    def outcome(self, told: OutcomeBody, now_ms: int) -> Outcome:
        """Return an outcome.

        Raises:
            InvalidRecordError: out-of-range, wrong-type, value-not-finite, far-future.
        """
        at_ms, given = told.occurred_at_ms, told.outcome_id
        outcome = outcome_from(
            {
                "outcome_id": self._ids.next(now_ms) if given is None else identifier("outcome_id", given),
                # No decision has another, and no policy a kind of another name: it would be logged for nothing.
                "action_id": kept_identifier("action_id", told.action_id),
                "kind": kept_identifier("kind", told.kind),
                "value": told.value,
                "occurred_at_ms": now_ms if at_ms is None else int(at_ms) if float(at_ms).is_integer() else at_ms,
            }
        )
        # JOIN would refuse it as well, where its caller does not see it.
        if outcome.occurred_at_ms > now_ms + MAX_CLOCK_SKEW_MS:
            raise far_future(outcome.occurred_at_ms, now_ms, MAX_CLOCK_SKEW_MS)
        if outcome.occurred_at_ms < MILLISECONDS_FROM:
            raise wrong_unit(outcome.occurred_at_ms, now_ms)
        return outcome

    def _hash_of(self, subject: str) -> str:
        if not self._subject_salt:
            # Answering without the hash would log what nobody could find again to erase.
            raise InvalidRecordError(
                "subject-not-accepted",
                "this node has no salt to hash `subject` with: start it with --subject-salt-file, or leave "
                "the subject out",
            )
        return hash_subject(subject, self._subject_salt)
