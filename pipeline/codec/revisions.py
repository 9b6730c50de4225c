"""Ledger records as they are written, increments among them → each as if it told everything. Pure.

    told       whole {a}    +{b} behind 1    +{c, d} behind 2    again, after a crash: +{c} behind 2
    as whole        {a}      {a, b}           {a, b, c, d}                              {a, b, c}

Whoever wrote an increment had the first `outcomes_before` outcomes from the records before it, in that order, so what
stands behind those is put away: it was told by somebody whose work was lost, and did again.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from typing import Any, NamedTuple

from pipeline.codec.reward import WHOLE
from pipeline.errors import StateError

Fields = Mapping[str, Any]


def is_increment(fields: Fields) -> bool:
    """Whether a `reward` record leaves out what earlier ones told."""
    return bool(fields["outcomes_before"] != WHOLE)


def made_whole(fields: Fields, before: Fields | None) -> Fields:
    """Return a `reward` record with everything that it leaves out.

    Args:
        fields: the record.
        before: the record of its action before it, whole; None: there is none.

    Raises:
        StateError: what it leaves out is not there.

    >>> first = {"action_id": "x", "outcomes_before": -1, "outcomes": ["a"], "decision": b"d", "reward": 1}
    >>> again = {"action_id": "x", "outcomes_before": 1, "outcomes": ["b"], "decision": b"", "reward": 2}
    >>> made_whole(again, first)["outcomes"], made_whole(again, first)["decision"]
    (['a', 'b'], b'd')
    """
    if not is_increment(fields):
        return fields
    count = fields["outcomes_before"]
    known = [] if before is None else before["outcomes"]
    if before is None or len(known) < count:
        raise StateError(
            f"a ledger record of action {fields['action_id']}, revision {fields['revision']}, goes on from {count} "
            f"outcomes, of which the records before it tell {len(known)}: the ledger must be read from its beginning, "
            "and never be compacted"
        )
    return {
        **fields,
        "outcomes": [*known[:count], *fields["outcomes"]],
        "outcomes_before": WHOLE,
        "decision": before["decision"],
    }


class _Told(NamedTuple):
    """What is needed of a record for the next one of its action."""

    expires_at_ms: int
    outcomes: Any
    decision: bytes


class Revisions:
    """One partition of the ledger, from its beginning, record by record; remembers actions that are not over."""

    def __init__(self) -> None:
        self._told: dict[str, _Told] = {}
        self._expiries: list[tuple[int, str]] = []
        self._event_time_ms = 0

    def __len__(self) -> int:
        """How many actions are remembered."""
        return len(self._told)

    def whole(self, fields: Fields) -> Fields | None:
        """Return the next record, made whole; None: a repeat of what is over, which changes nothing.

        Raises:
            StateError: as `made_whole`.
        """
        action_id, expires_ms = fields["action_id"], fields["expires_at_ms"]
        known = self._told.get(action_id)
        whole = fields
        if is_increment(fields):
            if known is None and expires_ms < self._event_time_ms:
                return None
            whole = made_whole(fields, None if known is None else known._asdict())
        # After a crash, what comes behind an erasure may go on from what was told before it.
        if not fields["is_erased"]:
            self._told[action_id] = _Told(expires_ms, whole["outcomes"], whole["decision"])
            if known is None or known.expires_at_ms != expires_ms:
                heapq.heappush(self._expiries, (expires_ms, action_id))
        self._event_time_ms = max(self._event_time_ms, fields["event_time_ms"])
        # What has expired is revised by nobody.
        while self._expiries and self._expiries[0][0] < self._event_time_ms:
            over_ms, over = heapq.heappop(self._expiries)
            told = self._told.get(over)
            if told is not None and told.expires_at_ms == over_ms:
                del self._told[over]
        return whole
