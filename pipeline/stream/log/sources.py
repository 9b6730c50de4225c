"""The logs that a stage reads of one partition number: what was read of each, and whether it still is that log.

The marks (`continuity.py`) are a row of the stage's own state, durable with the step that took the records:
`l` [version, {topic: [topic id, leader epoch, offset, checksum]}]. A state without that row, or one that an earlier
release went on with, learns what it lacks when it is opened.
"""

from __future__ import annotations

import asyncio
import logging
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any, NamedTuple

import orjson
from aiokafka import TopicPartition

from pipeline.errors import LogChangedError, StateError
from pipeline.stream.log.continuity import (
    NOTHING,
    Accepted,
    Fault,
    Mark,
    Seen,
    begin_at,
    changed,
    checksum,
    fault_of,
    is_unproven,
    lost,
)
from pipeline.stream.log.fetch import Batch
from pipeline.stream.log.identity import Log, LogLookup

log = logging.getLogger(__name__)

LOGS = b"l"
"""Key of the row."""
VERSION = 1
LOOK_AGAIN_S = 1.0
"""A leader that has just been elected may know less of the end than was read."""

_offset_of = attrgetter("offset")


class Resumption(NamedTuple):
    """Where a topic is read on."""

    position: int
    gone: int
    """Offsets that nobody has read and the topic holds no more."""


class Sources:
    """What one partition of a stage knows of the logs it reads; without a lookup it asks nobody, and marks nothing."""

    def __init__(
        self,
        number: int = 0,
        stored: bytes | None = None,
        lookup: LogLookup | None = None,
        *,
        accepted: Mapping[str, Accepted] | None = None,
        on_gone: Callable[[str, int, int], None] = lambda _topic, _number, _count: None,
    ) -> None:
        """Go on from the stored marks.

        Args:
            number: of the partition.
            stored: the row.
            lookup: asks the brokers.
            accepted: by topic: the log that an operator says is to be read.
            on_gone: told topic, partition, and how many offsets nobody will ever read.
        """
        self.number = number
        self._lookup = lookup
        self._accepted = accepted or {}
        self._on_gone = on_gone
        self._marks = {} if stored is None else marks_from_bytes(stored)
        self._in_hand: dict[str, Sequence[Any]] = {}
        self._positions: dict[str, int] = {}
        self.is_changed = False
        """Whether the row is to be stored."""

    def take(self, batch: Batch) -> None:
        """Take in hand what is handled next; tell of offsets in it that are gone."""
        if self._lookup is not None:
            self._in_hand[batch.topic] = batch.records
        if batch.gone:
            self.note_gone(batch.topic, batch.resume_offset - batch.gone, batch.resume_offset)

    def reached(self, topic: str, position: int) -> None:
        """Mark the last record before `position`, all of which is in the state with the next step."""
        if self._positions.get(topic) == position:
            return
        self._positions[topic] = position
        records = self._in_hand.get(topic, ())
        index = bisect_left(records, position, key=_offset_of)
        mark = self._marks.get(topic, Mark())
        if index and records[index - 1].offset > mark.offset:
            last = records[index - 1]
            self._marks[topic] = mark._replace(offset=last.offset, checksum=checksum(last))
            self.is_changed = True
        if index == len(records):
            self._in_hand.pop(topic, None)

    def rows(self) -> dict[bytes, bytes | None]:
        """Return what is to be stored with the next step: the row, if it has changed since it was asked for."""
        if not self.is_changed:
            return {}
        self.is_changed = False
        return {LOGS: marks_to_bytes(self._marks)}

    async def confirm(self, positions: Mapping[str, int]) -> dict[str, Resumption]:
        """Return where to go on in each topic, once the partition's rows are there and before anything is handled.

        Raises:
            LogChangedError: a log is not the one that was read. UnavailableError: no broker answers.
        """
        return {topic: await self._confirm(topic, position) for topic, position in positions.items()}

    async def _confirm(self, topic: str, position: int) -> Resumption:
        self._positions[topic] = position
        if self._lookup is None:
            return Resumption(position, 0)
        mark = self._marks.get(topic, Mark())
        seen = await self._look(topic, mark, await self._lookup.log(TopicPartition(topic, self.number)))
        fault = fault_of(mark, position, seen)
        if fault is Fault.SHORTER:
            await asyncio.sleep(LOOK_AGAIN_S)
            seen = await self._look(topic, mark, await self._lookup.log(TopicPartition(topic, self.number)))
            fault = fault_of(mark, position, seen)
        if fault is not None:
            return await self._accept(topic, fault, mark, position, seen)
        self._know(topic, mark, seen)
        gone = max(0, seen.first_offset - position)
        if not gone:
            return Resumption(position, 0)
        self._positions[topic] = seen.first_offset
        if not mark.topic_id and not position:
            log.info("log-begins topic=%s partition=%s offset=%s", topic, self.number, seen.first_offset)
            return Resumption(seen.first_offset, 0)
        self.note_gone(topic, position, seen.first_offset)
        return Resumption(seen.first_offset, gone)

    def note_gone(self, topic: str, position: int, first_offset: int) -> None:
        """Warn of offsets that retention took before they were read."""
        log.warning(
            "offsets-gone topic=%s partition=%s from=%s to=%s count=%s reason='the topic holds them no more: its "
            "retention is shorter than this worker was away or behind'",
            topic,
            self.number,
            position,
            first_offset,
            first_offset - position,
        )
        self._on_gone(topic, self.number, first_offset - position)

    async def end_of(self, topic: str) -> int:
        """Return where a topic ends now; 0 without a lookup."""
        if self._lookup is None:
            return 0
        return (await self._lookup.log(TopicPartition(topic, self.number))).end_offset

    async def refuse_lost(self, changelog: str, output: str) -> None:
        """Refuse to begin with nothing where what a state has sent is still there: its changelog was lost.

        Raises:
            LogChangedError: an operator has not said that it is to begin anew.
        """
        if self._lookup is None:
            return
        sent = await self._lookup.log(TopicPartition(output, self.number))
        if not sent.end_offset:
            return
        kept = await self._lookup.log(TopicPartition(changelog, self.number))
        accepted = self._accepted.get(changelog)
        if accepted is None or accepted.topic_id != kept.topic_id:
            raise lost((changelog, self.number), kept.topic_id, kept.leader_epoch, output, sent.end_offset)
        log.warning("state-begun-anew topic=%s partition=%s sent_before=%s", changelog, self.number, sent.end_offset)

    async def _accept(self, topic: str, fault: Fault, mark: Mark, position: int, seen: Seen) -> Resumption:
        accepted = self._accepted.get(topic)
        if accepted is None or accepted.topic_id != seen.topic_id or seen.leader_epoch > accepted.leader_epoch:
            raise changed(fault, (topic, self.number), mark, position, seen)
        begin = begin_at(accepted, mark, position, seen)
        log.warning(
            "log-accepted topic=%s partition=%s fault=%s topic_id=%s leader_epoch=%s position=%s from=%s",
            topic,
            self.number,
            fault,
            seen.topic_id,
            seen.leader_epoch,
            position,
            begin,
        )
        self._marks[topic] = Mark(seen.topic_id, seen.leader_epoch)
        self.is_changed = True
        self._positions[topic] = begin
        return Resumption(begin, 0)

    async def _look(self, topic: str, mark: Mark, found: Log) -> Seen:
        """Return what a log looks like, with the record that was read last where its epoch has changed."""
        seen = Seen(found.topic_id, found.leader_epoch, found.first_offset, found.end_offset)
        if self._lookup is None or mark.offset == NOTHING:
            return seen
        partition = TopicPartition(topic, self.number)
        record = None
        if found.first_offset <= mark.offset < found.end_offset:
            record = await self._lookup.record_at(partition, found, mark.offset)
        epoch_end = await self._lookup.epoch_end(partition, found, mark.leader_epoch)
        return seen._replace(checksum=None if record is None else checksum(record), epoch_end=epoch_end)

    def _know(self, topic: str, mark: Mark, seen: Seen) -> None:
        if is_unproven(mark, seen):
            log.warning(
                "log-unproven topic=%s partition=%s offset=%s epoch=%s ends=%s reason='the last record "
                "that was read is kept no more; a leader was elected at about that time, or records were cut off'",
                topic,
                self.number,
                mark.offset,
                mark.leader_epoch,
                seen.epoch_end,
            )
        known = mark._replace(topic_id=seen.topic_id or mark.topic_id, leader_epoch=seen.leader_epoch)
        if known != mark:
            # Of a record that is read meanwhile only the epoch is older, which proves as much.
            latest = self._marks.get(topic, Mark())
            self._marks[topic] = latest._replace(topic_id=known.topic_id, leader_epoch=known.leader_epoch)
            self.is_changed = True

    def marks(self) -> dict[str, tuple[Mark, int]]:
        """Return mark and position of each topic, to be compared with what is asked afterwards."""
        return {topic: (self._marks.get(topic, Mark()), position) for topic, position in self._positions.items()}

    async def check(self, topic: str, mark: Mark, found: Log) -> Fault | None:
        """Compare a log, as it is now, with what was marked before; look closer where a leader has changed.

        Raises:
            LogChangedError: it is certain that the log is not the one that was read.
        """
        seen = Seen(found.topic_id, found.leader_epoch, found.first_offset, found.end_offset)
        if found.leader_epoch != mark.leader_epoch:
            seen = await self._look(topic, mark, found)
        fault = fault_of(mark, mark.offset + 1, seen)
        if fault is None:
            self._know(topic, mark, seen)
        elif fault is not Fault.SHORTER:
            raise changed(fault, (topic, self.number), mark, mark.offset + 1, seen)
        return fault

    def shorter(self, topic: str, mark: Mark, found: Log) -> LogChangedError:
        """Return the error of a log that was found too short twice."""
        seen = Seen(found.topic_id, found.leader_epoch, found.first_offset, found.end_offset)
        return changed(Fault.SHORTER, (topic, self.number), mark, mark.offset + 1, seen)


def marks_to_bytes(marks: Mapping[str, Mark]) -> bytes:
    """Write the stored form."""
    return orjson.dumps([VERSION, {topic: list(mark) for topic, mark in marks.items()}])


def marks_from_bytes(stored: bytes) -> dict[str, Mark]:
    """Read the stored form.

    Raises:
        StateError: written by a version that this code does not know.
    """
    version, marks = orjson.loads(stored)
    if version != VERSION:
        raise StateError(
            f"marks of logs of version {version}, this code reads {VERSION}: use the release that wrote it"
        )
    return {topic: Mark(*fields) for topic, fields in marks.items()}
