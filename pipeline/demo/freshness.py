"""Outcome sent → first decision made on a snapshot that contains it. Pure: times are arguments.

    sent            the moment before a visitor's outcome is sent to a serving node
    credited        its first ledger record that names it, at (partition, offset)
    contained       the first snapshot version whose ledger offset of that partition is above that offset
    known           the first answer, of any node, that was decided on that version or a later one

Freshness is known - sent, on one clock. All of HTTP, brokers, worker and nodes is in it, and the time until the
next visitor happens to come.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

LedgerPlace = tuple[int, int]
"""(partition, offset) of the ledger."""


class FreshnessReport(NamedTuple):
    """What was measured."""

    p50_ms: float
    p99_ms: float
    outcomes: int
    """How many outcomes were measured."""
    unknown: int
    """How many of them no decision came to know of; they count with the time until the last decision."""


class Freshness:
    """The moments noted during a play."""

    def __init__(self) -> None:
        self._sent_ms: dict[str, float] = {}
        self._versions: list[int] = []
        self._offsets: dict[int, list[int]] = {}
        self._known_versions: list[int] = []
        self._known_ms: list[float] = []

    def note_sent(self, outcome_id: str, at_ms: float) -> None:
        """Note that an outcome is about to be sent."""
        self._sent_ms[outcome_id] = at_ms

    def note_snapshot(self, version: int, ledger_offsets: Mapping[int, int]) -> None:
        """Note a snapshot; one whose version is not above the last one's is a repeat."""
        if self._versions and version <= self._versions[-1]:
            return
        for partition, offset in ledger_offsets.items():
            # A partition that appears late was at 0 in all versions before.
            column = self._offsets.setdefault(partition, [0] * len(self._versions))
            column.append(offset)
        self._versions.append(version)
        for column in self._offsets.values():
            if len(column) < len(self._versions):
                column.append(column[-1] if column else 0)

    def note_decided(self, version: int, at_ms: float) -> None:
        """Note that an answer came which was decided on `version`."""
        if not self._known_versions or version > self._known_versions[-1]:
            self._known_versions.append(version)
            self._known_ms.append(at_ms)

    def report(self, credited: Mapping[str, LedgerPlace], until_ms: float, ended_ms: float) -> FreshnessReport | None:
        """Measure the outcomes sent up to `until_ms`; None if there are none.

        Those sent later are left out, whether or not a decision came to know of them: of the last ones only the
        quick would be counted. `ended_ms` is when the last decision was made.
        """
        sent = {outcome_id: at_ms for outcome_id, at_ms in self._sent_ms.items() if at_ms <= until_ms}
        if not sent:
            return None
        known = [(self._known_at_ms(credited.get(outcome_id)), at_ms) for outcome_id, at_ms in sent.items()]
        times = [(ended_ms if known_ms is None else known_ms) - at_ms for known_ms, at_ms in known]
        p50_ms, p99_ms = np.percentile(times, [50, 99])
        unknown = sum(known_ms is None for known_ms, _ in known)
        return FreshnessReport(float(p50_ms), float(p99_ms), len(times), unknown)

    def _known_at_ms(self, place: LedgerPlace | None) -> float | None:
        if place is None or place[0] not in self._offsets:
            return None
        partition, offset = place
        contained = bisect_right(self._offsets[partition], offset)
        if contained >= len(self._versions):
            return None
        known = bisect_left(self._known_versions, self._versions[contained])
        return self._known_ms[known] if known < len(self._known_ms) else None
