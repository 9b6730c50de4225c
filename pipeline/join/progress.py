"""What JOIN remembers of one partition: how far each topic is read, event time, and the conservation counts.

Law 5, for each partition at any time:

    decisions read = open + settled + erased + duplicate + rejected + ticks + erasures + gone
                     + forwarded
    outcomes read  = credited + duplicate + outside-window + before-decision + awaiting-decision + expired-orphan
                     + erased + rejected + ticks + gone + forwarded

A stream's watermark is the latest event time of what changed what is known of a decision, and at no record later than
the time that the log itself says: the broker's timestamp, or in a topic whose records carry their producers' own, the
latest clock that a worker has told there by a tick (ops/decisions/0033-nobodys-clock.md).

`read` counts records below `positions`, so a redelivered record is not read twice. Gone are offsets that the topic held
no more when they were to be read. Erased are decisions whose row was
held when they were, and whatever came for an erased action while its tombstone stood; a decision that is erased after
its row was dropped stays among the settled.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import orjson

from pipeline.errors import StateError

VERSION = 3
VERSION_WITHOUT_CLOCKS = 2
"""Written still where no producer's timestamp was read."""
VERSION_WITHOUT_PROMISE = 1
NOT_YET_MS = -1
"""Event time before anything was read."""
TRUSTED_MS = 1 << 62
"""For a clock that was not told yet, in a log that may be older than such ticks: producers' timestamps hold."""

DECISIONS = "decisions"
OUTCOMES = "outcomes"
UNDECODABLE = "undecodable."
"""Before the reason: counts of decisions that are in the ledger without a vector. Not a fate: they settle."""


@dataclass(slots=True)
class Progress:
    """State of one partition."""

    positions: dict[str, int] = field(default_factory=lambda: {DECISIONS: 0, OUTCOMES: 0})
    """Next offset to read, by stream."""
    watermarks_ms: dict[str, int] = field(default_factory=lambda: {DECISIONS: NOT_YET_MS, OUTCOMES: NOT_YET_MS})
    """Highest event time read, by stream, as far as the log says that it has come."""
    event_time_ms: int = NOT_YET_MS
    """The partition's event time: what closes windows. Never falls."""
    counts: Counter[str] = field(default_factory=Counter)
    """Conservation counts, named `stream.fate`, such as `outcomes.credited`."""
    promised_ms: int = NOT_YET_MS
    """Event time that is come to before anything else is read. Durable before a ledger record tells of it, or else a
    crash would take it back, and what then is read could still count in JOIN and no more in LEARN."""
    heard_ms: dict[str, int] = field(default_factory=lambda: {DECISIONS: NOT_YET_MS, OUTCOMES: NOT_YET_MS})
    """Highest event time read under a producer's own timestamp, by stream; a watermark follows as clocks allow."""
    clocks_ms: dict[str, int] = field(default_factory=lambda: {DECISIONS: NOT_YET_MS, OUTCOMES: NOT_YET_MS})
    """Highest time that a worker's clock has told there, by stream."""

    def next_event_time_ms(self, at_end: frozenset[str]) -> int:
        """Return the event time that the watermarks allow.

        The smaller watermark of the streams that are not read up to their end; a stream that is at its end
        does not hold the other back.

        >>> p = Progress(watermarks_ms={"decisions": 50, "outcomes": 20})
        >>> p.next_event_time_ms(frozenset())
        20
        >>> p.next_event_time_ms(frozenset({"outcomes"}))
        50
        """
        behind = [mark for stream, mark in self.watermarks_ms.items() if stream not in at_end]
        allowed = min(behind) if behind else max(self.watermarks_ms.values())
        return max(self.event_time_ms, self.promised_ms, allowed)

    def hear(self, stream: str, at_ms: int) -> None:
        """Take in the event time of a record that no broker has stamped."""
        self.heard_ms[stream] = max(self.heard_ms[stream], at_ms)
        self._follow_clock(stream)

    def tell(self, stream: str, clock_ms: int) -> None:
        """Take in what a worker's clock says at this place of the log."""
        known_ms = self.clocks_ms[stream]
        self.clocks_ms[stream] = clock_ms if known_ms == TRUSTED_MS else max(known_ms, clock_ms)
        self._follow_clock(stream)

    def _follow_clock(self, stream: str) -> None:
        """Let a watermark come to what was heard, as far as a clock was told.

        >>> p = Progress()
        >>> p.hear("outcomes", 300)
        >>> p.tell("outcomes", 120)
        >>> p.watermarks_ms["outcomes"], p.held_back()
        (120, ['outcomes'])
        """
        allowed_ms = min(self.heard_ms[stream], self.clocks_ms[stream])
        self.watermarks_ms[stream] = max(self.watermarks_ms[stream], allowed_ms)

    def held_back(self) -> list[str]:
        """Return the streams of which more was heard than a clock allows."""
        return [stream for stream, mark_ms in self.watermarks_ms.items() if mark_ms < self.heard_ms.get(stream, -1)]

    def promise(self, at_end: frozenset[str]) -> None:
        """Bind oneself to let event time come to where the watermarks allow it, whatever is read next."""
        self.promised_ms = self.next_event_time_ms(at_end)

    def skip(self, stream: str, position: int, gone: int) -> None:
        """Go on at another offset, of which `gone` were lost to retention.

        >>> p = Progress(positions={"decisions": 5, "outcomes": 0}); p.skip("decisions", 8, 3)
        >>> p.positions["decisions"], imbalance(p.counts, "decisions")
        (8, 0)
        """
        self.positions[stream] = position
        if gone:
            self.counts[f"{stream}.read"] += gone
            self.counts[f"{stream}.gone"] += gone

    def to_bytes(self) -> bytes:
        """Write the stored form."""
        fields = (self.positions, self.watermarks_ms, self.event_time_ms, self.counts, self.promised_ms)
        if max(self.heard_ms.values()) == NOT_YET_MS:
            return orjson.dumps((VERSION_WITHOUT_CLOCKS, *fields))
        return orjson.dumps((VERSION, *fields, self.heard_ms, self.clocks_ms))


def progress_from_bytes(stored: bytes) -> Progress:
    """Read the stored form.

    Raises:
        StateError: written by a version that this code does not know.
    """
    version, *fields = orjson.loads(stored)
    if version not in (VERSION_WITHOUT_PROMISE, VERSION_WITHOUT_CLOCKS, VERSION):
        raise StateError(
            f"JOIN progress of version {version}, this code reads {VERSION_WITHOUT_PROMISE} to {VERSION}: "
            "use the release that wrote it"
        )
    positions, watermarks_ms, event_time_ms, counts, *later = fields
    return Progress(positions, watermarks_ms, event_time_ms, Counter(counts), *later)


def imbalance(counts: Counter[str], stream: str) -> int:
    """Return records read less records accounted for: 0 by law 5."""
    fates = sum(n for name, n in counts.items() if name.startswith(f"{stream}.") and name != f"{stream}.read")
    return counts[f"{stream}.read"] - fates
