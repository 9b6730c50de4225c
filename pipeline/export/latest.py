"""A partition of the ledger, record by record → of each decision its last revision, once no other can come. Pure.

                                          event time passes its expiry
    rev 1 ──── rev 3 ──── rev 2 (a repeat) ────────┼──▶ rev 3 ···· rev 3 again: a repeat of what is over, passed over

What counts is what LEARN counts: the higher revision, of equal ones the later; a record of a decision that had expired
before it is a repeat. So no more is held than the decisions whose window and grace are open.
"""

from __future__ import annotations

import heapq
from collections.abc import Container, Iterator, Mapping
from typing import Any, NamedTuple

Fields = Mapping[str, Any]

KEPT = (
    "action_id",
    "policy",
    "generation",
    "segment",
    "arm",
    "decided_at_ms",
    "revision",
    "is_settled",
    "reward",
    "reward_exponent",
    "attribution",
    "outcomes",
    "decision",
    "is_analysis",
    "undecodable",
    "expires_at_ms",
)
"""Fields of a ledger record that a row is made of."""


class Key(NamedTuple):
    """What tells decisions apart: an id that comes again once it has expired is another decision."""

    action_id: str
    decided_at_ms: int


class Held(NamedTuple):
    """A revision, and where it lies."""

    offset: int
    fields: Fields
    """Those of `KEPT`."""


def key_of(fields: Fields) -> Key:
    """Name the decision of a ledger record."""
    return Key(fields["action_id"], fields["decided_at_ms"])


class Latest:
    """What may still change."""

    def __init__(self, erased: Container[Key]) -> None:
        """Say of which decisions nothing is to be told."""
        self._erased = erased
        self._held: dict[Key, Held] = {}
        self._expiries: list[tuple[int, Key]] = []
        self._event_time_ms = -1

    def __len__(self) -> int:
        """How many decisions are held."""
        return len(self._held)

    def take(self, offset: int, fields: Fields) -> Iterator[Held]:
        """Take in the next record, made whole; yield what is over by then, by expiry."""
        expires_ms = fields["expires_at_ms"]
        key = key_of(fields)
        if expires_ms >= self._event_time_ms and key not in self._erased:
            known = self._held.get(key)
            if known is None or fields["revision"] >= known.fields["revision"]:
                self._held[key] = Held(offset, {name: fields[name] for name in KEPT})
                if known is None or known.fields["expires_at_ms"] != expires_ms:
                    heapq.heappush(self._expiries, (expires_ms, key))
        self._event_time_ms = max(self._event_time_ms, fields["event_time_ms"])
        while self._expiries and self._expiries[0][0] < self._event_time_ms:
            over_ms, over = heapq.heappop(self._expiries)
            held = self._held.get(over)
            if held is not None and held.fields["expires_at_ms"] == over_ms:
                del self._held[over]
                yield held

    def rest(self) -> Iterator[Held]:
        """Yield what may still change, as it stands at the end, by offset."""
        yield from sorted(self._held.values(), key=lambda held: held.offset)
        self._held.clear()


class Every:
    """Every revision as it comes, repeats among them, but of the erased."""

    def __init__(self, erased: Container[Key]) -> None:
        """Say of which decisions nothing is to be told."""
        self._erased = erased

    def take(self, offset: int, fields: Fields) -> Iterator[Held]:
        """Yield the record."""
        if key_of(fields) not in self._erased:
            yield Held(offset, fields)

    def rest(self) -> Iterator[Held]:
        """Yield nothing."""
        return iter(())
