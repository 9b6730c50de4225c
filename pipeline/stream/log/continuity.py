"""Whether a log is still the one that was read: pure.

An offset alone proves nothing: a topic may have been made anew, restored or mirrored, and a leader that lacked records
may have been elected. So beside each position stands a mark: the topic's id, the leader's epoch, and the last record
that was read, by its offset and a checksum. The id tells another log. The record tells another content, whoever wrote
it and when; where it is kept no more, the end of the epoch tells what there was of it.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable
from enum import StrEnum
from typing import Any, NamedTuple

from pipeline.errors import ConfigError, LogChangedError

NOTHING = -1
_ACCEPTED = re.compile(r"([A-Za-z0-9._-]+)=([0-9a-f-]*)@(\d+):(start|position)")


class Mark(NamedTuple):
    """What was read of a log."""

    topic_id: str = ""
    """Empty: not known, as in state of an earlier release."""
    leader_epoch: int = -1
    """The highest that was known when the record was read."""
    offset: int = NOTHING
    """Of the last record that was read."""
    checksum: int = 0
    """Of that record."""


class Seen(NamedTuple):
    """What the log looks like now."""

    topic_id: str
    leader_epoch: int
    first_offset: int
    end_offset: int
    checksum: int | None = None
    """Of the record at the mark's offset; None: it is kept no more, or was not looked at."""
    epoch_end: int = NOTHING
    """Where the mark's epoch ends; -1: not known, or not asked."""


class Fault(StrEnum):
    """Why a log is not the one that was read."""

    ANOTHER_TOPIC = "another-topic"
    SHORTER = "shorter"
    OTHER_RECORDS = "other-records"


class Accepted(NamedTuple):
    """An operator's word that a log is to be read on, whatever was known of it."""

    topic_id: str
    leader_epoch: int
    """What has happened up to this epoch is accepted, and nothing later."""
    from_start: bool
    """Else from the position: it is a copy that kept the offsets, or what was cut off is given up."""


def accepted_logs(words: Iterable[str]) -> dict[str, Accepted]:
    """Read what `--accept-log` was given.

    >>> accepted_logs(["outcomes=6f4d7c1e-9b7b-4a51-8f0e-6d6ac4dc0a3b@0:start"])["outcomes"].from_start
    True

    Raises:
        ConfigError: not TOPIC=ID@EPOCH:start or :position.
    """
    found = {}
    for word in words:
        if (match := _ACCEPTED.fullmatch(word)) is None:
            raise ConfigError(
                "--accept-log",
                [f"{word!r} is not TOPIC=ID@EPOCH:start or TOPIC=ID@EPOCH:position; the message of the stop has it"],
            )
        topic, topic_id, epoch, begin = match.groups()
        found[topic] = Accepted(topic_id, int(epoch), from_start=begin == "start")
    return found


def checksum(record: Any) -> int:
    """Return a record's checksum: time, key and value."""
    crc = zlib.crc32(int(record.timestamp).to_bytes(8, "big", signed=True))
    return zlib.crc32(record.value or b"", zlib.crc32(record.key or b"", crc))


def fault_of(mark: Mark, position: int, seen: Seen) -> Fault | None:
    """Return why a log can't be read on at `position`; None: it can.

    >>> fault_of(Mark("a", 0, 49, 7), 50, Seen("b", 0, 0, 40))
    <Fault.ANOTHER_TOPIC: 'another-topic'>
    >>> fault_of(Mark("a", 0, 49, 7), 50, Seen("a", 3, 0, 40))
    <Fault.SHORTER: 'shorter'>
    >>> fault_of(Mark("a", 0, 49, 7), 50, Seen("a", 3, 0, 60, checksum=8))
    <Fault.OTHER_RECORDS: 'other-records'>
    >>> fault_of(Mark("a", 0, 49, 7), 50, Seen("a", 3, 10, 60, checksum=7))
    """
    if max(position, mark.offset + 1) == 0:
        return None  # nothing was read of it
    if mark.topic_id and seen.topic_id and mark.topic_id != seen.topic_id:
        return Fault.ANOTHER_TOPIC
    if seen.end_offset < max(position, mark.offset + 1):
        return Fault.SHORTER
    if seen.checksum is not None and seen.checksum != mark.checksum:
        return Fault.OTHER_RECORDS
    return None


def is_unproven(mark: Mark, seen: Seen) -> bool:
    """Return whether the record is kept no more and its epoch ends before it: cut off, or led by another just then."""
    return seen.checksum is None and 0 <= seen.epoch_end <= mark.offset


def begin_at(accepted: Accepted, mark: Mark, position: int, seen: Seen) -> int:
    """Return where an accepted log is read from.

    >>> begin_at(Accepted("a", 3, from_start=False), Mark("a", 0, 49, 7), 50, Seen("a", 3, 0, 60, 8, epoch_end=42))
    42
    """
    if accepted.from_start:
        return seen.first_offset
    if mark.topic_id == seen.topic_id and seen.epoch_end >= 0:
        position = min(position, seen.epoch_end)
    return max(seen.first_offset, min(position, seen.end_offset))


_WHY = {
    Fault.ANOTHER_TOPIC: "its topic was made anew, restored or mirrored: seen topic id {seen.topic_id}, "
    "expected {mark.topic_id}",
    Fault.SHORTER: "it lost records that were read: seen an end at {seen.end_offset}, expected {position} or more",
    Fault.OTHER_RECORDS: "other records stand where some were read: seen checksum {seen.checksum} at offset "
    "{mark.offset}, expected {mark.checksum}",
}


def changed(fault: Fault, place: tuple[str, int], mark: Mark, position: int, seen: Seen) -> LogChangedError:
    """Return the error that stops: what, seen, expected, and the next step."""
    topic, number = place
    name = f"{topic}={seen.topic_id}@{max(seen.leader_epoch, 0)}"
    return LogChangedError(
        f"{topic}/{number} is not the log that was read up to offset {position} ({fault}): "
        f"{_WHY[fault].format(seen=seen, mark=mark, position=position)}. "
        "Nothing of it was taken since. Bring the old log back, or say that this one is to be read: "
        f"`pipeline worker --accept-log {name}:start` (from its start; what repeats counts once while it is held) or "
        f"`--accept-log {name}:position` (it kept its offsets, or what was cut off is given up). "
        "See ops/runbooks/another-log.md"
    )


def lost(place: tuple[str, int], topic_id: str, leader_epoch: int, output: str, count: int) -> LogChangedError:
    """Return the error of a state that is nothing, though what it has sent is there."""
    changelog, number = place
    return LogChangedError(
        f"{changelog}/{number} holds no state, but {output}/{number} holds {count} offsets that came of it: seen an "
        "empty changelog, expected the one that belongs to them. Restore it, or begin anew from what the sources still "
        f"hold: `pipeline worker --accept-log {changelog}={topic_id}@{max(leader_epoch, 0)}:start` (what had been "
        "settled and let go of counts again if its sources are still there). See ops/runbooks/another-log.md"
    )


def cut_off(place: tuple[str, int], topic_id: str, leader_epoch: int, start: int, first_offset: int) -> LogChangedError:
    """Return the error of a changelog that has lost rows which nobody has: neither it nor the folder on disk."""
    changelog, number = place
    return LogChangedError(
        f"{changelog}/{number} lost its beginning: seen a first offset of {first_offset}, expected {start}, which the "
        "state folder goes on from. Rows that were last written before it are in neither, and what they count is not "
        "known: compaction takes none, retention or a deletion of records did. Start with a state folder that reaches "
        "further, or restore the topic. If nothing was there that counts: `pipeline worker --accept-log "
        f"{changelog}={topic_id}@{max(leader_epoch, 0)}:position`. See ops/runbooks/another-log.md"
    )
