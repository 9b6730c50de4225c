"""Which decisions are one person's, what the ledger says of each, and which erasures are still to be sent. Pure.

An erasure is asked for in `decisions`, behind the decision, and answered in the ledger by a record that is erased:

    asked, row held               answered: LEARN takes back what it remembers
    asked, expired in the ledger  answered with what it counted for, which the ledger says and can't change any more
    asked, expired on the way     answered, but nobody could take anything back: it is asked again, now with that

so whatever happens between asking and answering, asking until nothing is left takes back each contribution once.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pipeline.codec import avro
from pipeline.codec.forwarded import forwarded_in
from pipeline.codec.framed import Registry
from pipeline.codec.readable import PassOver, readable, refuse
from pipeline.codec.wire import decode_event
from pipeline.errors import RecordError
from pipeline.events import Contribution, Decision, Erasure
from pipeline.learn.ledger import LedgerRecord, change_of, ledger_record
from pipeline.learn.memory import Counted, FoldState


class Asked(NamedTuple):
    """An erasure to send."""

    partition: int
    """That of the decision."""
    erasure: Erasure

    @property
    def value(self) -> bytes:
        """The record's bytes."""
        counted = self.erasure.counted
        fields = self.erasure._asdict() | {"counted": None if counted is None else counted._asdict()}
        return avro.encode("erasure", fields)


def decision_of(raw: bytes | None, subject_hash: str, registry: Registry) -> Decision | None:
    """Return the decision if the record is one of this subject's."""
    # Spelled out in Avro, and in JSON unless something is escaped: most records needn't be decoded.
    if not raw or (raw[0] != 0 and subject_hash.encode() not in raw and b"\\" not in raw):
        return None
    try:
        event = decode_event(raw, "decision", registry)
    except RecordError:  # JOIN refused it as well
        return None
    return event if isinstance(event, Decision) and event.subject_hash == subject_hash else None


@dataclass(slots=True)
class _Action:
    """One decision of the subject's, and where its erasure stands."""

    decision: Decision
    partition: int
    counted: Counted | None = None
    """As LEARN has it."""
    latest: Mapping[str, Any] | None = None
    """The ledger record that says so."""
    is_asked: bool = False
    """And not answered yet."""
    is_answered: bool = False
    is_taken_back: bool = False
    """It counted, and does no more."""

    @property
    def is_erased(self) -> bool:
        """Whether it counts for nothing, for ever, or never counted."""
        return self.counted.is_erased if self.counted else self.is_answered


@dataclass(slots=True)
class Forgetting:
    """All that is known on the way to one person's being forgotten."""

    actions: dict[str, _Action] = field(default_factory=dict)
    asked_until: dict[int, int] = field(default_factory=dict)
    """By partition of `decisions`: the first offset behind the last erasure of one of them."""
    answered_until: dict[int, int] = field(default_factory=dict)
    """By partition of the ledger: the first offset behind the last answer to one of them."""
    pass_over: PassOver = refuse
    """Told of ledger records that are none."""
    _states: defaultdict[int, FoldState] = field(default_factory=lambda: defaultdict(FoldState))

    def find(self, partition: int, decision: Decision, *, is_forwarded: bool = False) -> None:
        """Take in one of the subject's decisions; a repeat changes nothing, but one that JOIN has sent on is there."""
        action = self.actions.setdefault(decision.action_id, _Action(decision, partition))
        if is_forwarded:
            action.partition = partition

    @property
    def counts(self) -> set[tuple[str, int, int]]:
        """Where the subject's decisions count: policy, generation, partition."""
        return {(one.decision.policy, one.decision.generation, one.partition) for one in self.actions.values()}

    def find_erasure(self, partition: int, offset: int, key: bytes | None, raw: bytes | None) -> None:
        """Take in a record of `decisions`, which may be an erasure of one of the subject's."""
        # Erasures are sent under the action's id: most records needn't be decoded.
        if raw and raw[:2] == avro.MARKER and key is not None and key.decode(errors="replace") in self.actions:
            sent = forwarded_in(raw)
            inner = raw if sent is None else sent.raw
            if inner[:2] == avro.MARKER and avro.decode(inner)[0] == "erasure":
                self.asked_until[partition] = offset + 1

    @property
    def partitions(self) -> list[int]:
        """The partitions whose ledger must be read."""
        return sorted({action.partition for action in self.actions.values()})

    def position(self, partition: int) -> int:
        """Return how far a partition of the ledger was read."""
        return self._states[partition].position

    def read(self, partition: int, records: Iterable[tuple[int, bytes]]) -> None:
        """Take in (offset, bytes) of the ledger, in order and from its start."""
        state = self._states[partition]
        for offset, _, fields in readable(partition, records, "reward", pass_over=self.pass_over):
            self._read_one(ledger_record(offset, fields), fields, state)
            if fields["is_erased"] and fields["action_id"] in self.actions:
                self.answered_until[partition] = offset + 1

    def _read_one(self, record: LedgerRecord, fields: Mapping[str, Any], state: FoldState) -> None:
        action = self.actions.get(record.action_id)
        # What others count for plays no part in how far their records move the state.
        after, n, *_ = change_of(record, action.counted if action else None, state)
        if action is None:
            return
        if record.is_erased:
            # What answered somebody else before knows nothing of a decision that came, or was sent again, since then.
            action.is_answered |= action.is_asked
            action.is_asked = False
            action.is_taken_back |= n == -1
        elif after is not None:
            action.latest = fields
        action.counted = after or action.counted

    def ask(self) -> list[Asked]:
        """Return the erasures to send now; each counts as asked until it is answered."""
        asked = []
        for action in self.actions.values():
            if not action.is_erased and not action.is_asked:
                action.is_asked = True
                asked.append(Asked(action.partition, self._erasure(action)))
        return asked

    @property
    def remaining(self) -> int:
        """How many decisions are not erased yet."""
        return sum(not action.is_erased for action in self.actions.values())

    @property
    def counting(self) -> int:
        """How many decisions count in statistics at present."""
        return sum(a.counted is not None and not a.counted.is_erased for a in self.actions.values())

    @property
    def taken_back(self) -> int:
        """How many decisions counted, and do no more."""
        return sum(action.is_taken_back for action in self.actions.values())

    def _erasure(self, action: _Action) -> Erasure:
        decision, latest, contribution = action.decision, action.latest, None
        if latest is not None:
            contribution = Contribution(
                reward=latest["reward"],
                reward_exponent=latest["reward_exponent"],
                context_vector=latest["context_vector"],
                bucket=latest["bucket"],
                expires_at_ms=latest["expires_at_ms"],
                attribution=latest["attribution"],
                is_final=latest["expires_at_ms"] < self._states[action.partition].watermark_ms,
            )
        where = decision._asdict() if latest is None else latest
        return Erasure(
            decision.action_id,
            where["policy"],
            where["generation"],
            where["segment"],
            where["arm"],
            where["decided_at_ms"],
            contribution,
            latest["tallies"] if latest is not None and contribution is not None and contribution.is_final else (),
        )


def subject_sha256(subject_hash: str) -> str:
    """Hash a subject's hash once more, for the record that it was forgotten.

    >>> subject_sha256("5e1f")[:8]
    'f2ecc2d5'
    """
    return hashlib.sha256(subject_hash.encode()).hexdigest()
