"""Ledger records of one partition, in order → the sums of the policies that are asked for. Pure.

A record says all that its action has earned so far. So what an action counts for is what its record of the highest
revision says, of equal ones the later; the sums are those of all actions, and a correction is the old taken out and the
new put in. Event time is the highest `event_time_ms` so far, of whatever policy:

    a record whose action has expired before it   changes nothing, as nobody remembers what it would correct
    an erasure of what has not expired            takes out what is there, for ever
    an erasure of what has expired                takes out what it says itself, if it says that that is final
    a record of the analysis group, or of a
    decision whose context gave no vector         changes nothing
"""

from __future__ import annotations

import heapq
import struct
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

Fields = Mapping[str, Any]
Row = tuple[str, str, int, str]
"""Segment, arm, bucket and the name of what is counted beside the sums; empty: the sums."""
Sums = dict[Row, list[int]]
"""[n, Σr, Σr², Σrx…, upper triangle of Σxxᵀ row by row], or the columns of what is counted beside."""
Policy = tuple[str, int]
"""Name and generation."""


class Known(NamedTuple):
    """What is remembered of an action."""

    revision: int
    expires_at_ms: int
    reward: int
    tallies: Sequence[Sequence[Any]]
    """[row, width, column, amount] of each."""
    counts: tuple[tuple[Row, tuple[int, ...]], ...] | None
    """What it has put into which rows; None: a checkpoint does not say where, a record of the action does."""


class Partition:
    """One partition of the ledger, as far as it is read."""

    def __init__(self, policies: Collection[Policy] | None = None) -> None:
        """Say which policies are counted; None: all."""
        self.event_time_ms = -1
        self.records = 0
        self.sums: dict[Policy, Sums] = {policy: {} for policy in policies or ()}
        self.known: dict[str, Known] = {}
        """Actions that may still be revised, and some that may not."""
        self.erased: dict[str, int] = {}
        """The revision that each was erased by."""
        self.widths: dict[tuple[Policy, str], int] = {}
        """Columns of what is counted beside the sums, by its name; 0: those of the sums."""
        self._is_all = policies is None
        self._expiries: list[tuple[int, str]] = []

    def remember(self, action: str, known: Known) -> None:
        """Remember what an action counts for until it has expired."""
        self.known[action] = known
        heapq.heappush(self._expiries, (known.expires_at_ms, action))

    def take(self, record: Fields) -> None:
        """Take in the next record."""
        self.records += 1
        before_ms = self.event_time_ms
        self.event_time_ms = max(before_ms, record["event_time_ms"])
        policy = record["policy"], record["generation"]
        if self._is_all:
            self.sums.setdefault(policy, {})
        if policy in self.sums and not record["is_analysis"] and not record["undecodable"]:
            self._count(record, self.sums[policy], before_ms)
        self._let_go()

    def _count(self, record: Fields, sums: Sums, now_ms: int) -> None:
        action, expires_ms = record["action_id"], record["expires_at_ms"]
        if action in self.erased:
            return
        known = self.known.get(action)
        # An id that comes again when its action is over is another action, with another end.
        if known is not None and known.expires_at_ms != expires_ms:
            over_ms = known.expires_at_ms
            if over_ms < now_ms or over_ms <= record["event_time_ms"]:
                known = None
        if known is not None and record["revision"] < known.revision:
            return
        is_expired = expires_ms < now_ms
        if record["is_erased"]:
            self._erase(record, sums, known, is_expired=is_expired)
        elif not is_expired:
            counts = tuple(contributions(record))
            if known is not None:
                _add(sums, counted_by(known, record), -1)
            _add(sums, counts, 1)
            tallies = [(one["row"], one["width"], one["column"], one["amount"]) for one in record["tallies"]]
            for row, width, _, _ in tallies:
                self.widths[(record["policy"], record["generation"]), row] = width
            self.remember(action, Known(record["revision"], expires_ms, record["reward"], tallies, counts))

    def _erase(self, record: Fields, sums: Sums, known: Known | None, *, is_expired: bool) -> None:
        if is_expired and not record["is_reward_final"]:
            return
        if is_expired:
            _add(sums, contributions(record), -1)
        elif known is not None:
            _add(sums, counted_by(known, record), -1)
        self.known.pop(record["action_id"], None)
        self.erased[record["action_id"]] = record["revision"]

    def _let_go(self) -> None:
        """Forget actions that nothing can change any more: memory is that of what is open."""
        while self._expiries and self._expiries[0][0] < self.event_time_ms:
            expires_ms, action = heapq.heappop(self._expiries)
            known = self.known.get(action)
            if known is not None and known.expires_at_ms == expires_ms:
                del self.known[action]


def counted_by(known: Known, record: Fields) -> Iterable[tuple[Row, tuple[int, ...]]]:
    """Return what an action has put into which rows; where it is not known, its next record names the same place."""
    if known.counts is not None:
        return known.counts
    tallies = [dict(zip(("row", "width", "column", "amount"), one, strict=True)) for one in known.tallies]
    return contributions({**record, "reward": known.reward, "tallies": tallies})


def contributions(record: Fields) -> Iterator[tuple[Row, tuple[int, ...]]]:
    """Yield what one record puts into which rows."""
    packed = record["context_vector"]
    x = struct.unpack(f"<{len(packed) // 2}h", packed)
    r = record["reward"]
    products = [x[i] * x[j] for i in range(len(x)) for j in range(i, len(x))]
    decision = (1, r, r * r, *(r * entry for entry in x), *products)
    where = record["segment"], record["arm"], record["bucket"]
    yield (*where, ""), decision
    for tally in record["tallies"]:
        columns = [0] * tally["width"]
        if columns:
            columns[tally["column"]] = tally["amount"]
        yield (*where, tally["row"]), tuple(columns) or decision


def _add(sums: Sums, counts: Any, sign: int) -> None:
    for row, columns in counts:
        held = sums.get(row)
        if held is None:
            held = sums[row] = [0] * len(columns)
        for place, column in enumerate(columns):
            held[place] += sign * column


def merged(parts: Collection[Sums]) -> Sums:
    """Return the sums over partitions."""
    total: Sums = {}
    for part in parts:
        _add(total, part.items(), 1)
    return total
