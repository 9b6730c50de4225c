"""Records that wait on disk for the broker: append-only files of frames, read again in order, removed when delivered.

A segment is a file `00000001.spill` of frames (`frames.py`). A frame is handed to the system by one write as it comes,
so it survives the end of the process, kill -9 included; `sync` makes it survive the machine's. A write that the disk
takes a part of is taken back, and the record was not kept.

A segment is removed when every byte of it was read and delivered: after a kill, what was delivered of the oldest one is
delivered again, under the same action_id, and JOIN counts it once. One that has bytes which are no sound frame, as a
machine that stops leaves them at a file's end, is not removed but set aside as `00000001.unread`, and its records that
could not be read are counted as lost.
"""

from __future__ import annotations

import errno
import logging
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import ConfigError, UnavailableError
from pipeline.serve.delivery.disk import AppendFile, Disk, FolderDisk
from pipeline.serve.delivery.frames import Frames, Parcel, frame_of, read_frames

log = logging.getLogger(__name__)

SEGMENT_BYTES = 16 << 20
_SUFFIX = ".spill"
_SET_ASIDE = ".unread"


@dataclass(slots=True)
class _Segment:
    """A file of frames."""

    name: str
    size: int = 0
    """Bytes of it that are whole frames; what stands behind was taken back, or is torn."""
    records: int = 0
    """How many of it wait."""
    is_damaged: bool = False
    """Whether some of it can't be read."""
    lost: int = 0
    """Whole frames that were found unsound as it was opened."""


class Spill:
    """The segments of one prefix in a folder, which one process holds at a time."""

    def __init__(
        self,
        folder: Path,
        capacity_bytes: int,
        *,
        disk: Disk | None = None,
        prefix: str = "",
        others_bytes: Callable[[], int] = lambda: 0,
    ) -> None:
        """Take the folder, with what an earlier process left in it.

        Args:
            folder: where.
            capacity_bytes: what all files in it may take up.
            disk: the folder, if it is held already.
            prefix: of the names of this one's files; digits follow it.
            others_bytes: what the others' files take up.

        Raises:
            ConfigError: it can't be used, or another process holds it.
        """
        self.records = 0
        """How many wait."""
        self.bytes = 0
        """How much they take up."""
        self.lost = 0
        """Records that were kept and could not be read again."""
        self.set_aside_bytes = 0
        """What files take up that could not be read whole; it counts as used room until somebody removes them."""
        self._failing: set[str] = set()
        """What the disk refused the last time that it was asked: to write, to sync."""
        self._folder = folder
        self._capacity_bytes = capacity_bytes
        self._prefix = prefix
        self._others_bytes = others_bytes
        self._active: AppendFile | None = None
        self._is_torn = False
        """Whether a part of a frame, which was to be taken back, still stands at the active segment's end."""
        self._retired: deque[AppendFile] = deque()
        """Written, and not synced and closed yet."""
        self._is_unsynced = False
        self._taken = Frames([], 0, 0)
        """What `next_round` gave and `settle` has not let go of."""
        self._offset = 0
        """Where in the oldest segment reading goes on."""
        try:
            self._disk = disk or FolderDisk(folder)
            names = [name for name in self._disk.names() if file_number(name, prefix) is not None]
            kept = [name for name in names if name.endswith(_SUFFIX)]
            self._segments = deque(self._found(name) for name in kept)
            self.set_aside_bytes = sum(self._disk.size(name) for name in names if name.endswith(_SET_ASIDE))
        except BlockingIOError as error:
            raise ConfigError("spill_dir", [f"{folder} is held by another process: give each node its own"]) from error
        except (OSError, ValueError) as error:
            raise ConfigError("spill_dir", [f"{folder} can't be used: {error}"]) from error
        self._next_number = max([file_number(name, prefix) or 0 for name in names], default=0) + 1

    @property
    def is_failing(self) -> bool:
        """Whether the disk refused something the last time that it was asked."""
        return bool(self._failing)

    @property
    def is_unsynced(self) -> bool:
        """Whether something was written that may not be on the disk itself."""
        return self._is_unsynced

    def append(self, parcel: Parcel) -> bool:
        """Write a record behind the others; return whether it was: there may be no room, or no disk."""
        frame = frame_of(parcel)
        if self.bytes + self.set_aside_bytes + self._others_bytes() + len(frame) > self._capacity_bytes:
            return False
        try:
            self._write(frame)
        except OSError as error:
            self._note_failure("write", error)
            return False
        self._note_success("write")
        self._segments[-1].records += 1
        self.records += 1
        self.bytes += len(frame)
        return True

    def sync(self) -> None:
        """Wait until what was written is on the disk itself; a disk that fails is told of."""
        self._is_unsynced = False
        try:
            with suppress(IndexError):
                while True:
                    retired = self._retired.popleft()
                    try:
                        retired.sync()
                    finally:
                        retired.close()
            active = self._active
            if active is not None:
                active.sync()
            self._disk.sync()
        except OSError as error:
            self._note_failure("sync", error)
        else:
            self._note_success("sync")

    def next_round(self, records: int, size: int) -> list[Parcel]:
        """Return the oldest records, up to a number and about a size; none once nothing waits.

        Raises:
            UnavailableError: the disk can't be read now; nothing has changed.
        """
        while self._segments:
            segment = self._segments[0]
            try:
                with self._disk.open(segment.name) as file:
                    self._taken = read_frames(file, self._offset, segment.size, records, size)
            except FileNotFoundError:  # somebody has removed it
                self._taken = Frames([], self._offset, 0)
            except OSError as error:
                raise UnavailableError(f"{self._folder / segment.name} can't be read: {error}") from error
            segment.is_damaged |= self._taken.unsound > 0
            if self._taken.parcels:
                return self._taken.parcels
            self.bytes -= self._taken.offset - self._offset
            self._offset = self._taken.offset
            self._finish_oldest()
        return []

    def settle(self) -> None:
        """Let go of what `next_round` gave: it was delivered."""
        if not self._taken.parcels:
            return
        self._segments[0].records -= len(self._taken.parcels)
        self.records -= len(self._taken.parcels)
        self.bytes -= self._taken.offset - self._offset
        self._offset, self._taken = self._taken.offset, Frames([], 0, 0)
        while self._segments and not self.records:
            self._finish_oldest()

    def retire(self) -> None:
        """Let what is written next begin a file."""
        if self._active is not None:
            self._retired.append(self._active)
            self._active, self._is_unsynced = None, True

    def close(self) -> None:
        """Sync, and let go of the folder."""
        self.retire()
        self.sync()
        self._disk.close()

    def _write(self, frame: bytes) -> None:
        active = self._writable()
        segment = self._segments[-1]
        try:
            _write_whole(active, frame)
        except OSError:
            self._is_torn = True
            with suppress(OSError):  # else before the next write
                self._take_back(active, segment)
            raise
        segment.size += len(frame)
        self._is_unsynced = True

    def _writable(self) -> AppendFile:
        """Return the active segment's file, with nothing but whole frames in it."""
        if self._active is not None and self._is_torn:
            try:
                self._take_back(self._active, self._segments[-1])
            except OSError:
                if not self._segments[-1].size:  # no file after file that can't be written
                    raise
                self.retire()  # it ends where its whole frames do
        if self._active is not None and self._segments[-1].size >= SEGMENT_BYTES:
            self.retire()
        if self._active is None:
            name = f"{self._prefix}{self._next_number:08d}{_SUFFIX}"
            self._next_number += 1
            self._active, self._is_torn = self._disk.create(name), False
            self._segments.append(_Segment(name))
        return self._active

    def _take_back(self, active: AppendFile, segment: _Segment) -> None:
        active.truncate(segment.size)
        self._is_torn = False

    def _finish_oldest(self) -> None:
        """Remove the oldest segment, or set it aside if not all of it was read."""
        segment = self._segments.popleft()
        if not self._segments:
            self.retire()
        self.lost += segment.records
        self.records -= segment.records
        self.bytes -= segment.size - self._offset
        segment.is_damaged |= self._offset < segment.size
        self._offset = 0
        self._taken = Frames([], 0, 0)
        try:
            if not segment.is_damaged:
                self._disk.remove(segment.name)
                return
            name = segment.name.removesuffix(_SUFFIX) + _SET_ASIDE
            log.error("spill-set-aside file=%s lost=%s", self._folder / name, segment.records + segment.lost)
            self._disk.rename(segment.name, name)
            self.set_aside_bytes += self._disk.size(name)
        except OSError as error:  # the next process delivers it once more
            log.warning("spill-left file=%s error=%r", self._folder / segment.name, error)

    def _found(self, name: str) -> _Segment:
        """Count the records of a segment that an earlier process left."""
        segment = _Segment(name)
        end = self._disk.size(name)
        with self._disk.open(name) as file:
            while (read := read_frames(file, segment.size, end, 1_000_000, SEGMENT_BYTES)).offset > segment.size:
                segment.size = read.offset
                segment.records += len(read.parcels)
                segment.is_damaged |= read.unsound > 0
                segment.lost += read.unsound
        self.lost += segment.lost
        self.records += segment.records
        self.bytes += segment.size
        if torn := end - segment.size:
            segment.is_damaged = True
            log.error("spill-torn segment=%s offset=%s bytes=%s", self._folder / name, segment.size, torn)
        return segment

    def _note_failure(self, what: str, error: OSError) -> None:
        if what not in self._failing:  # once for each time it begins: a full disk refuses thousands in a second
            log.error("spill-failed folder=%s operation=%s error=%r", self._folder, what, error)
        self._failing.add(what)

    def _note_success(self, what: str) -> None:
        if what in self._failing:
            self._failing.remove(what)
            log.warning("spill-works-again folder=%s operation=%s", self._folder, what)


def file_number(name: str, prefix: str) -> int | None:
    """Return the number in a file's name; None: it is not one of those with this prefix."""
    stem = name.removeprefix(prefix).partition(".")[0]
    return int(stem) if name.startswith(prefix) and stem.isascii() and stem.isdigit() else None


def _write_whole(file: AppendFile, frame: bytes) -> None:
    written = file.write(frame)
    if written < len(frame):
        raise OSError(errno.ENOSPC, f"the disk took {written} of {len(frame)} bytes")
