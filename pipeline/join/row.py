"""What JOIN remembers of one action: its decision as it was read, and its outcomes by outcome_id.

Stored layout, version 1 (integers little-endian):

    B version | q due_ms | I length of facts | H length of context vector | facts (JSON) | vector | decision

version 2, the tombstone of an erased action:

    B version | q due_ms

and version 3, as 1 with one more fact at the end: the propensity, which policies that count by it alone ask for.

`due_ms` stands at a fixed place because the store's index of due rows is rebuilt from it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import NamedTuple

import orjson

from pipeline.errors import StateError

VERSION = 1
TOMBSTONE_VERSION = 2
PROPENSITY_VERSION = 3
_READ = VERSION, PROPENSITY_VERSION
_HEAD = struct.Struct("<BqIH")
_DUE = struct.Struct("<q")
_TOMBSTONE = struct.Struct("<Bq")

# Bounds of a row's head and JSON facts: three names of 64 ASCII characters, four integers, a float64; 325 in all.
FACTS_BYTES = 345
# JSON may take six bytes for a character. An outcome is an id and a kind of 256 characters each, and numbers.
CHARACTER_BYTES = 6
NUMBERS_BYTES = 120
OUTCOME_BYTES = 2 * 256 * CHARACTER_BYTES + NUMBERS_BYTES


class OutcomeFact(NamedTuple):
    """A credited outcome in a row."""

    kind: str
    value: float
    occurred_at_ms: int
    offset: int
    """Where it stands in `outcomes`."""


class AwaitingOutcome(NamedTuple):
    """An outcome that came before its decision, with its record whole: it may yet become a dead letter."""

    outcome_id: str
    kind: str
    value: float
    occurred_at_ms: int
    offset: int
    """Where it stands in `outcomes`."""
    timestamp_ms: int
    """The broker's timestamp of the record."""
    key: str | None
    """The record's key in Base64."""
    raw: str
    """The record's bytes in Base64."""


@dataclass(slots=True)
class ActionRow:
    """One action. Without a decision it holds outcomes that came first; erased, it holds nothing but its end."""

    due_ms: int = 0
    """Event time at which this row must be looked at: close, expiry, or the end of an orphan's wait."""
    is_settled: bool = False
    """The attribution window has closed."""
    outcomes: dict[str, OutcomeFact] = field(default_factory=dict)
    """The credited ones, by outcome_id."""
    awaiting: list[AwaitingOutcome] = field(default_factory=list)
    """Where there is no decision yet: what came, in the order of `outcomes`."""
    raw: bytes = b""
    """The decision record as it was read, without its subject; empty: no decision yet."""
    vector: bytes = b""
    """Encoded context, int16 little-endian."""
    policy: str = ""
    generation: int = 0
    segment: str = ""
    arm: str = ""
    decided_at_ms: int = 0
    close_ms: int = 0
    """End of the attribution window."""
    expires_ms: int = 0
    """End of grace: the row is dropped."""
    propensity: float = 0.0
    """Of the arm, where the policy counts by it; 0 elsewhere."""
    is_erased: bool = False
    """A tombstone: what comes for this action is passed over until `due_ms`."""
    stored_due_ms: int | None = None
    """`due_ms` as it stands in the store, None for a new row. Not stored itself."""
    stored_bytes: int = field(default=0, compare=False)
    """How long it is in the store, 0 for a new row. Not stored itself."""

    @property
    def has_decision(self) -> bool:
        """Whether the decision has been read."""
        return bool(self.raw)

    @property
    def revision(self) -> int:
        """Facts known: the decision, each credited outcome, and that it is settled.

        It only grows, and the row with all facts has the one highest revision whatever order they came in.
        """
        return 1 + len(self.outcomes) + self.is_settled

    @property
    def bound_bytes(self) -> int:
        """What the stored row takes at most."""
        awaiting = sum(len(outcome.raw) + len(outcome.key or "") + OUTCOME_BYTES for outcome in self.awaiting)
        return FACTS_BYTES + len(self.raw) + len(self.vector) + OUTCOME_BYTES * len(self.outcomes) + awaiting

    def to_bytes(self) -> bytes:
        """Write the stored layout."""
        if self.is_erased:
            return _TOMBSTONE.pack(TOMBSTONE_VERSION, self.due_ms)
        facts = (
            self.is_settled,
            self.policy,
            self.generation,
            self.segment,
            self.arm,
            self.decided_at_ms,
            self.close_ms,
            self.expires_ms,
            {outcome_id: tuple(fact) for outcome_id, fact in self.outcomes.items()},
            [tuple(outcome) for outcome in self.awaiting],
        )
        if self.propensity:
            return self._written(PROPENSITY_VERSION, (*facts, self.propensity))
        return self._written(VERSION, facts)

    def _written(self, version: int, facts: tuple[object, ...]) -> bytes:
        text, vector = orjson.dumps(facts), self.vector
        return b"".join((_HEAD.pack(version, self.due_ms, len(text), len(vector)), text, vector, self.raw))


def row_from_bytes(stored: bytes) -> ActionRow:
    """Read the stored layout.

    Raises:
        StateError: written by a version that this code does not know.
    """
    if stored[0] == TOMBSTONE_VERSION:
        due_ms = due_of(stored)
        return ActionRow(due_ms=due_ms, is_erased=True, stored_due_ms=due_ms, stored_bytes=len(stored))
    if stored[0] not in _READ:
        raise StateError(
            f"action row of version {stored[0]}, this code reads {VERSION} to {PROPENSITY_VERSION}: "
            "use the release that wrote it"
        )
    version, due_ms, facts_length, vector_length = _HEAD.unpack_from(stored)
    vector_start = _HEAD.size + facts_length
    raw_start = vector_start + vector_length
    facts = orjson.loads(stored[_HEAD.size : vector_start])
    propensity = facts.pop() if version == PROPENSITY_VERSION else 0.0
    settled, policy, generation, segment, arm, decided, close, expires, outcomes, awaiting = facts
    return ActionRow(
        due_ms=due_ms,
        is_settled=settled,
        outcomes={key: OutcomeFact(*fact) for key, fact in outcomes.items()},
        awaiting=[AwaitingOutcome(*outcome) for outcome in awaiting],
        raw=stored[raw_start:],
        vector=stored[vector_start:raw_start],
        policy=policy,
        generation=generation,
        segment=segment,
        arm=arm,
        decided_at_ms=decided,
        close_ms=close,
        expires_ms=expires,
        propensity=propensity,
        stored_due_ms=due_ms,
        stored_bytes=len(stored),
    )


def due_of(stored: bytes) -> int:
    """Read only `due_ms` of a stored row."""
    due_ms: int = _DUE.unpack_from(stored, 1)[0]
    return due_ms
