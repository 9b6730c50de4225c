"""Where in the log a decision lies: by its action_id, and by the time that a UUID of version 7 holds.

An action's records lie in one partition of `decisions` and of `rewards`. Nodes name actions by UUIDv7: that partition
is read from a minute before the action on; any other id is looked for from the partition's start. Both end
after `MOST_RECORDS`, and say so.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from pipeline.codec import avro
from pipeline.codec.murmur2 import partition_of
from pipeline.codec.revisions import made_whole
from pipeline.codec.wire import decode_event, read_accepted
from pipeline.errors import ConfigError, RecordError, StateError, UnavailableError
from pipeline.events import MAX_ID_CHARACTERS, Decision
from pipeline.stream.log.follow import entries, taken
from pipeline.stream.log.offsets import EARLIEST_MS, LATEST_MS
from pipeline.stream.log.reader import STILL_WITHIN_S, LogReader
from pipeline.stream.log.topics import DECISIONS, REWARDS
from pipeline.stream.security import Address

MOST_RECORDS = 3_000_000
"""Of a partition, that one look reads; a minute or two."""
MOST_REVISIONS = 100
BEFORE_MS = 60_000
"""How far clocks of nodes and brokers may be apart."""
_UUID7 = re.compile(r"([0-9a-f]{12})7[0-9a-f]{3}[89ab][0-9a-f]{15}")
_POLL_S = 0.5

OnProgress = Callable[[int, int], None]


class FoundDecision(NamedTuple):
    """What the log has of an action."""

    action_id: str
    decision: Decision | None
    """As `decisions` has it, or else as the ledger repeats it; None: neither does."""
    place: str
    """Where it was read."""
    revisions: list[Mapping[str, Any]]
    """Its ledger records, oldest first."""
    places: list[str]
    """Where they were read."""
    searched: str
    """In words, what was looked through."""


def id_time_ms(action_id: str) -> int | None:
    """Return when an id was made, where it says so.

    >>> id_time_ms("0193e5a45c007abc8def0123456789ab"), id_time_ms("order-17")
    (1734724574208, None)
    """
    matched = _UUID7.fullmatch(action_id.lower().replace("-", ""))
    return None if matched is None else int(matched[1], 16)


async def find_decision(broker: Address, action_id: str, on_progress: OnProgress) -> FoundDecision:
    """Look for an action.

    Raises:
        ConfigError: it is no id. UnavailableError: no broker answers.
    """
    if not 0 < len(action_id) <= MAX_ID_CHARACTERS:
        raise ConfigError("action_id", [f"{len(action_id)} characters, expected 1 to {MAX_ID_CHARACTERS}"])
    since_ms, search, words = id_time_ms(action_id), _Search(action_id), []
    for topic in (DECISIONS, REWARDS):
        looked_at, total = await _scan(broker, topic, action_id, since_ms, search.take, on_progress)
        words.append(f"{looked_at:,} records of {topic}" + ("" if looked_at >= total else f", of {total:,}"))
    since = "from its start" if since_ms is None else "from a minute before the time that the id holds"
    return search.found._replace(searched=f"{' and '.join(words)}, {since}")


class _Search:
    """What was found so far."""

    def __init__(self, action_id: str) -> None:
        self.found = FoundDecision(action_id, None, "", [], [], "")

    def take(self, record: Any) -> bool:
        """Take in a record that may be of the action; return whether no more of its topic is needed."""
        self.found = _taken(self.found, record)
        return record.topic == DECISIONS and self.found.decision is not None


def _taken(found: FoundDecision, record: Any) -> FoundDecision:
    place = f"{record.topic}/{record.partition}/{record.offset}"
    try:
        if record.topic == DECISIONS:
            event = decode_event(record.value, "decision")
            if isinstance(event, Decision) and event.action_id == found.action_id and found.decision is None:
                return found._replace(decision=event, place=place)
            return found
        fields: Mapping[str, Any] = avro.decode_as("reward", record.value)
        if fields["action_id"] != found.action_id or len(found.revisions) >= MOST_REVISIONS:
            return found
        with suppress(StateError):  # what it goes on from is not there: it is shown as it stands
            fields = made_whole(fields, found.revisions[-1] if found.revisions else None)
        found = found._replace(revisions=[*found.revisions, fields], places=[*found.places, place])
        if found.decision is None and not fields["is_erased"]:
            return found._replace(decision=read_accepted(fields["decision"]), place=place)
    except RecordError:
        return found
    return found


async def _scan(
    broker: Address,
    topic: str,
    action_id: str,
    since_ms: int | None,
    take: Callable[[Any], bool],
    on_progress: OnProgress,
) -> tuple[int, int]:
    """Hand over records that may be of the action until one is enough; return how many of how many are behind."""
    sought, has_come = action_id.encode(), asyncio.Event()
    reader = LogReader(broker)
    try:
        await reader.start()
        places = await reader.partitions_of(topic)
        place = places[partition_of(sought, len(places))]
        begin = (await reader.offsets([place], EARLIEST_MS))[place]
        end = (await reader.offsets([place], LATEST_MS))[place]
        if since_ms is not None:
            begin = max(begin, min(end, (await reader.offsets([place], since_ms - BEFORE_MS))[place]))
        last = min(end, begin + MOST_RECORDS)
        reading = reader.begin(place, begin, has_come, asyncio.Event())
        given_s = time.monotonic()
        while reading.taken < last:
            has_come.clear()
            for batch in taken([reading]):
                given_s = time.monotonic()
                for record in entries(batch):
                    # Both encodings hold the id as it is.
                    if isinstance(record.value, bytes) and sought in record.value and take(record):
                        return record.offset + 1 - begin, end - begin
                on_progress(reading.taken - begin, last - begin)
            if time.monotonic() - given_s > STILL_WITHIN_S:
                raise UnavailableError(f"topic {topic} gives nothing for {STILL_WITHIN_S:.0f} s")
            with suppress(TimeoutError):
                await asyncio.wait_for(has_come.wait(), _POLL_S)
        return last - begin, end - begin
    finally:
        await reader.stop()
