"""What JOIN remembers of one partition: how far each topic is read, event time, and the conservation counts.

Law 5, for each partition at any time:

    decisions read = open + settled + erased + duplicate + rejected + ticks + erasures + gone
    outcomes read  = credited + duplicate + outside-window + awaiting-decision + expired-orphan + erased + rejected
                     + ticks + gone

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

VERSION = 2
VERSION_BEFORE = 1
"""Without a promise."""
NOT_YET_MS = -1
"""Event time before anything was read."""

DECISIONS = "decisions"
OUTCOMES = "outcomes"


@dataclass(slots=True)
class Progress:
    """State of one partition."""

    positions: dict[str, int] = field(default_factory=lambda: {DECISIONS: 0, OUTCOMES: 0})
    """Next offset to read, by stream."""
    watermarks_ms: dict[str, int] = field(default_factory=lambda: {DECISIONS: NOT_YET_MS, OUTCOMES: NOT_YET_MS})
    """Highest event time read, by stream."""
    event_time_ms: int = NOT_YET_MS
    """The partition's event time: what closes windows. Never falls."""
    counts: Counter[str] = field(default_factory=Counter)
    """Conservation counts, named `stream.fate`, such as `outcomes.credited`."""
    promised_ms: int = NOT_YET_MS
    """Event time that is come to before anything else is read. Durable before a ledger record tells of it, or else a
    crash would take it back, and what then is read could still count in JOIN and no more in LEARN."""

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
        return orjson.dumps(
            [VERSION, self.positions, self.watermarks_ms, self.event_time_ms, self.counts, self.promised_ms]
        )


def progress_from_bytes(stored: bytes) -> Progress:
    """Read the stored form.

    Raises:
        StateError: written by a version that this code does not know.
    """
    version, *fields = orjson.loads(stored)
    if version not in (VERSION_BEFORE, VERSION):
        raise StateError(
            f"JOIN progress of version {version}, this code reads {VERSION_BEFORE} and {VERSION}: "
            "use the release that wrote it"
        )
    positions, watermarks_ms, event_time_ms, counts, *promised = fields
    return Progress(positions, watermarks_ms, event_time_ms, Counter(counts), *promised)


def imbalance(counts: Counter[str], stream: str) -> int:
    """Return records read less records accounted for: 0 by law 5."""
    fates = sum(n for name, n in counts.items() if name.startswith(f"{stream}.") and name != f"{stream}.read")
    return counts[f"{stream}.read"] - fates
