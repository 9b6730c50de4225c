"""What JOIN remembers of one action: its decision as it was read, and its outcomes by outcome_id."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

# Bounds of a row's head and names: three names of 64 ASCII characters, five integers; 300 in all.
FACTS_BYTES = 320
# JSON may take six bytes for a character. An outcome is an id and a kind of 256 characters each, and numbers.
CHARACTER_BYTES = 6
NUMBERS_BYTES = 120
OUTCOME_BYTES = 2 * 256 * CHARACTER_BYTES + NUMBERS_BYTES


UNTOLD = -1
"""Of a row that the ledger has told nothing of, or is to tell whole again."""


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
    key: bytes | None
    """The record's key."""
    raw: bytes
    """The record's value."""


@dataclass(slots=True)
class ActionRow:
    """One action. Without a decision it holds outcomes that came first; erased, it holds nothing but its end."""

    due_ms: int = 0
    """Event time at which this row must be looked at: close, expiry, or the end of an orphan's wait."""
    is_settled: bool = False
    """The attribution window has closed."""
    outcomes: dict[str, OutcomeFact] = field(default_factory=dict)
    """The credited ones, by outcome_id, in the order in which they were credited."""
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
    is_analysis: bool = False
    """Of the analysis group: LEARN passes over it."""
    undecodable: str = ""
    """Why its context gave no vector: LEARN passes over it; empty: it gave one, or none is wanted."""
    told: int = UNTOLD
    """So many of the outcomes, the first ones, stand in the ledger, and the decision with them."""
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
        awaiting = sum(len(outcome.raw) + len(outcome.key or b"") + OUTCOME_BYTES for outcome in self.awaiting)
        return FACTS_BYTES + len(self.raw) + len(self.vector) + OUTCOME_BYTES * len(self.outcomes) + awaiting
