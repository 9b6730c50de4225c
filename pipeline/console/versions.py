"""The line of a policy's snapshots, in bounded room. Pure.

Of every version its facts are kept, up to `MAX_FACTS` of the newest. Of some the record is kept too, to draw shares
over time from: when there are more than fit, every second one goes, but for those at which something else changed,
so that what is older is drawn more coarsely and no change is missed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pipeline.publish.parts import rewards_counted
from pipeline.publish.snapshot import snapshot_id

MAX_POLICIES = 1_000
MAX_FACTS = 1_000
MAX_RECORDS = 96
MAX_RECORD_BYTES = 1 << 20
"""Of one policy, all of its kept records together; at least the newest two are kept, whatever their size."""


class Version(NamedTuple):
    """What is known of every version."""

    version: int
    id: str
    parent: str
    published_at_ms: int
    """The broker's timestamp."""
    event_time_ms: int
    generation: int
    definition_hash: str
    rollback_of: int
    counted: int
    """Rewards counted."""
    posterior_sha256: str
    change: str
    """What changed at it, in a word; empty: what was learned."""


class Kept(NamedTuple):
    """A version whose record is at hand."""

    facts: Version
    record: bytes
    is_whole: bool
    """Whether the record has all posteriors: those of a large snapshot lie in parts elsewhere."""


class Line:
    """One policy's versions, oldest first."""

    def __init__(self) -> None:
        self.facts: deque[Version] = deque(maxlen=MAX_FACTS)
        self.records: list[Kept] = []
        """Those that can be drawn."""
        self.total = 0
        """How many were ever seen."""
        self.newest: Kept | None = None
        """The last one, which may be an outline."""

    def add(
        self, record: bytes, fields: Mapping[str, Any], published_at_ms: int, *, id_of_outlined: str | None = None
    ) -> None:
        """Take the next record of the history; one that was sent again is known, and of an outline there are facts."""
        before = self.facts[-1] if self.facts else None
        if before is not None and fields["version"] <= before.version:
            return
        facts = Version(
            fields["version"],
            snapshot_id(record) if id_of_outlined is None else id_of_outlined,
            fields["parent"],
            published_at_ms,
            fields["event_time_ms"],
            fields["generation"],
            fields["definition_hash"],
            fields["rollback_of"],
            rewards_counted(fields),
            fields["posterior_sha256"],
            _change(before, fields),
        )
        self.total += 1
        self.facts.append(facts)
        self.newest = Kept(facts, record, not fields["parts"])
        if id_of_outlined is not None:  # nothing can be drawn of it
            return
        self.records.append(self.newest)
        while len(self.records) > MAX_RECORDS or (
            len(self.records) > 2 and sum(len(one.record) for one in self.records) > MAX_RECORD_BYTES
        ):
            self.records = thinned(self.records)

    def find(self, version: int) -> Version | None:
        """Return what is known of a version."""
        return next((one for one in reversed(self.facts) if one.version == version), None)

    def rate_per_minute(self) -> float | None:
        """Return how many rewards a minute were counted lately, by event time; None: it can't be told."""
        if len(self.facts) < 2:
            return None
        last = self.facts[-1]
        for one in reversed(self.facts):
            if one.generation != last.generation or one.rollback_of or last.rollback_of:
                return None
            if last.published_at_ms - one.published_at_ms >= MINUTE_MS:
                break
        elapsed_ms = last.published_at_ms - one.published_at_ms
        return (last.counted - one.counted) * MINUTE_MS / elapsed_ms if elapsed_ms > 0 else None


MINUTE_MS = 60_000


def thinned(records: Sequence[Kept]) -> list[Kept]:
    """Leave out every second record, but keep the newest and those where something changed; else the older half goes.

    >>> versions = [Version(n, "", "", 0, 0, 1, "", 0, 0, "", "definition" * (n == 4)) for n in range(1, 7)]
    >>> [one.facts.version for one in thinned([Kept(each, b"", True) for each in versions])]
    [1, 3, 4, 5, 6]
    """
    last = len(records) - 1
    left = [one for place, one in enumerate(records) if place % 2 == 0 or place == last or one.facts.change]
    return left if len(left) < len(records) else list(records[len(records) // 2 :])


def _change(before: Version | None, fields: Mapping[str, Any]) -> str:
    if before is None:
        return ""
    if fields["rollback_of"]:
        return f"rollback to {fields['rollback_of']}" if fields["rollback_of"] != before.rollback_of else ""
    if before.rollback_of:
        return "unpinned"
    if fields["generation"] != before.generation:
        return f"generation {fields['generation']}"
    return "definition" if fields["definition_hash"] != before.definition_hash else ""
