"""Records that wait on disk for the broker: append-only files of frames, read again in order, removed when delivered.

A segment is a file `00000001.spill` of frames

    4 bytes length of the rest | 4 bytes CRC-32 of the rest | topic, key: 2 bytes length + bytes each | value

A frame is handed to the system by one write as it comes, so it survives the end of the process, kill -9 included;
`sync` makes it survive the machine's. A segment is removed when all of it was delivered: after a kill, what was
delivered of the oldest one is delivered again, under the same action_id, and JOIN counts it once. A torn frame at the
end of a file, as a machine that stops leaves it, ends that file.
"""

from __future__ import annotations

import fcntl
import logging
import os
import struct
import zlib
from collections import deque
from pathlib import Path
from typing import BinaryIO, NamedTuple

from pipeline.errors import ConfigError

log = logging.getLogger(__name__)

SEGMENT_BYTES = 16 << 20
_HEAD = struct.Struct(">II")
_LENGTH = struct.Struct(">H")
_SUFFIX = ".spill"


class Parcel(NamedTuple):
    """A record to deliver."""

    topic: str
    key: bytes
    value: bytes

    @property
    def size(self) -> int:
        """Bytes that it takes up."""
        return len(self.key) + len(self.value)


class Spill:
    """The segments in one folder, which one process holds at a time."""

    def __init__(self, folder: Path, capacity_bytes: int) -> None:
        """Take the folder, with what an earlier process left in it.

        Raises:
            ConfigError: it can't be used, or another process holds it.
        """
        self.records = 0
        """How many wait."""
        self.bytes = 0
        """How much they take up."""
        self._folder = folder
        self._capacity_bytes = capacity_bytes
        self._active: BinaryIO | None = None
        self._active_bytes = 0
        self._taken = 0
        """Records of the oldest segment that `next_round` gave and `settle` has not let go of."""
        self._offset = 0
        """Where in the oldest segment reading goes on."""
        self._next_offset = 0
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = folder.joinpath("lock").open("wb")
        except OSError as error:
            raise ConfigError("spill_dir", [f"{folder} can't be used: {error}"]) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.close()
            raise ConfigError("spill_dir", [f"{folder} is held by another process: give each node its own"]) from error
        self._segments = deque(sorted(folder.glob(f"*{_SUFFIX}")))
        for segment in self._segments:
            self._count(segment)

    def append(self, parcel: Parcel) -> bool:
        """Write a record behind the others; return whether it was: there may be no room, or no disk."""
        frame = _frame(parcel)
        if self.bytes + len(frame) > self._capacity_bytes:
            return False
        try:
            self._writable().write(frame)
        except OSError as error:
            log.error("spill-failed folder=%s error=%r", self._folder, error)  # noqa: TRY400  no trace is needed
            self._retire()  # half a frame may be at its end
            return False
        self._active_bytes += len(frame)
        self.records += 1
        self.bytes += len(frame)
        return True

    def sync(self) -> None:
        """Wait until what was written is on the disk itself."""
        active = self._active
        if active is None:
            return
        try:
            os.fsync(active.fileno())
        except ValueError:  # closed by now, as all of it was delivered
            return

    def next_round(self, records: int, size: int) -> list[Parcel]:
        """Return the oldest records, up to a number and about a size; none once nothing waits."""
        while self._segments:
            parcels, self._next_offset = _read(self._segments[0], self._offset, records, size)
            if parcels:
                self._taken = len(parcels)
                return parcels
            self._remove_oldest()
        return []

    def settle(self) -> None:
        """Let go of what `next_round` gave: it was delivered."""
        self.records -= self._taken
        self.bytes -= self._next_offset - self._offset
        self._offset, self._taken = self._next_offset, 0
        if not self.records:
            while self._segments:
                self._remove_oldest()

    def close(self) -> None:
        """Sync, and let go of the folder."""
        self.sync()
        self._retire()
        self._lock.close()

    def _writable(self) -> BinaryIO:
        if self._active_bytes >= SEGMENT_BYTES:
            self._retire()
        if self._active is None:
            number = int(self._segments[-1].stem) + 1 if self._segments else 1
            path = self._folder / f"{number:08d}{_SUFFIX}"
            self._active, self._active_bytes = path.open("xb", buffering=0), 0
            self._segments.append(path)
        return self._active

    def _retire(self) -> None:
        if self._active is not None:
            self._active.close()
            self._active = None

    def _remove_oldest(self) -> None:
        path = self._segments.popleft()
        if not self._segments:
            self._retire()
            self.records = self.bytes = 0
        path.unlink(missing_ok=True)
        self._offset = self._next_offset = 0

    def _count(self, segment: Path) -> None:
        offset = 0
        while True:
            parcels, end = _read(segment, offset, 1_000_000, SEGMENT_BYTES)
            if not parcels:
                break
            self.records += len(parcels)
            self.bytes += end - offset
            offset = end
        torn = segment.stat().st_size - offset
        if torn:
            log.error("spill-torn segment=%s offset=%s bytes=%s", segment, offset, torn)


def _frame(parcel: Parcel) -> bytes:
    topic = parcel.topic.encode()
    rest = b"".join((_LENGTH.pack(len(topic)), topic, _LENGTH.pack(len(parcel.key)), parcel.key, parcel.value))
    return _HEAD.pack(len(rest), zlib.crc32(rest)) + rest


def _read(segment: Path, offset: int, records: int, size: int) -> tuple[list[Parcel], int]:
    """Read whole, sound frames from an offset on; return them and where the next one begins."""
    parcels: list[Parcel] = []
    with segment.open("rb") as file:
        file.seek(offset)
        taken = 0
        while len(parcels) < records and taken < size:
            head = file.read(_HEAD.size)
            if len(head) < _HEAD.size:
                break
            length, crc = _HEAD.unpack(head)
            rest = file.read(length)
            if len(rest) < length or zlib.crc32(rest) != crc:
                break
            parcels.append(_parcel(rest))
            taken += _HEAD.size + length
    return parcels, offset + taken


def _parcel(rest: bytes) -> Parcel:
    (topic_length,) = _LENGTH.unpack_from(rest)
    key_at = _LENGTH.size + topic_length
    (key_length,) = _LENGTH.unpack_from(rest, key_at)
    value_at = key_at + _LENGTH.size + key_length
    return Parcel(rest[_LENGTH.size : key_at].decode(), rest[key_at + _LENGTH.size : value_at], rest[value_at:])
