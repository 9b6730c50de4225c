"""Which records belong to actions of other partitions, and how they are sent on. Pure.

An action's home is the partition of murmur2 of its action_id, whatever key or partitioner its producers use. A record
is taken where a row of its action is; else at home; and read anywhere else, it is sent home as it was. A record that
was sent on is taken where it lies, so none goes twice, however partitions are counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.codec.forwarded import Forwarded
from pipeline.codec.murmur2 import partitions_of
from pipeline.events import Decision, Erasure, Outcome
from pipeline.join.changes import Arrival, Forward
from pipeline.join.progress import DECISIONS, OUTCOMES
from pipeline.join.row import ActionRow


@dataclass(frozen=True, slots=True)
class Place:
    """A partition among others."""

    number: int
    partitions: int
    since: Mapping[str, int] = field(default_factory=lambda: {DECISIONS: 0, OUTCOMES: 0})
    """By stream: the first offset from which records are sent on; in a log of earlier releases all before were taken
    where they lay."""


def part(
    stream: str, arrivals: Sequence[Arrival], rows: Mapping[str, ActionRow], place: Place
) -> tuple[Sequence[Arrival], list[Forward]]:
    """Part the records that are taken here from those that are sent on."""
    since = place.since.get(stream)
    if place.partitions == 1 or since is None:
        return arrivals, []
    here, places = place.number, _homes(arrivals, place.partitions)
    if places.count(here) == len(places):
        return arrivals, []
    kept, forwards = [], []
    held = set(rows)
    for arrival, home in zip(arrivals, places, strict=True):
        event = arrival.event
        if (
            home in (here, None)
            or arrival.is_forwarded
            or arrival.offset < since
            or not isinstance(event, Decision | Outcome | Erasure)
            or event.action_id in held
            # What it counted for, the ledger of this partition says.
            or (isinstance(event, Erasure) and event.counted is not None)
        ):
            kept.append(arrival)
            if isinstance(event, Decision):
                held.add(event.action_id)
        else:
            forwards.append(Forward(stream, home or 0, event.action_id.encode(), _sent_on(arrival, here)))
    return kept, forwards


def _homes(arrivals: Sequence[Arrival], partitions: int) -> list[int | None]:
    ids = [a.event.action_id.encode() if isinstance(a.event, Decision | Outcome | Erasure) else b"" for a in arrivals]
    found = partitions_of(ids, partitions)
    return [home if action_id else None for action_id, home in zip(ids, found, strict=True)]


def _sent_on(arrival: Arrival, here: int) -> bytes:
    return Forwarded(
        here, arrival.offset, arrival.timestamp_ms, arrival.is_stamped, arrival.key, arrival.kept
    ).to_bytes()
