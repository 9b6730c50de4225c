"""What waits on disk: for the broker, and beside it for each partition that takes nothing while others do."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from pipeline.errors import ConfigError
from pipeline.serve.delivery.batch_sender import Destination
from pipeline.serve.delivery.disk import Disk, FolderDisk
from pipeline.serve.delivery.spill import Spill


class SpillFolder:
    """The spills in one folder, which one process holds at a time; their bytes are bounded together."""

    def __init__(self, folder: Path, capacity_bytes: int, *, disk: Disk | None = None) -> None:
        """Take the folder, with what an earlier process left in it.

        Raises:
            ConfigError: it can't be used, or another process holds it.
        """
        self._folder = folder
        self._capacity_bytes = capacity_bytes
        self._spills: dict[Destination | None, Spill] = {}
        try:
            self._disk = disk or FolderDisk(folder)
            names = self._disk.names()
        except BlockingIOError as error:
            raise ConfigError("spill_dir", [f"{folder} is held by another process: give each node its own"]) from error
        except OSError as error:
            raise ConfigError("spill_dir", [f"{folder} can't be used: {error}"]) from error
        self.waiting = self._open(None)
        """For the broker, wherever it goes then."""
        for destination in {found for name in names if (found := _destination_of(name))}:
            self._open(destination)

    @property
    def records(self) -> int:
        """How many wait."""
        return sum(spill.records for spill in self._spills.values())

    @property
    def bytes(self) -> int:
        """How much they take up."""
        return sum(spill.bytes for spill in self._spills.values())

    @property
    def lost(self) -> int:
        """Records that were kept and could not be read again."""
        return sum(spill.lost for spill in self._spills.values())

    @property
    def is_unsynced(self) -> bool:
        """Whether something was written that may not be on the disk itself."""
        return any(spill.is_unsynced for spill in self._spills.values())

    def destinations(self) -> Iterator[Destination]:
        """Give those that something waits for."""
        return (found for found, spill in self._spills.items() if found is not None and spill.records)

    def of(self, destination: Destination) -> Spill:
        """Return what waits for one partition."""
        return self._spills.get(destination) or self._open(destination)

    def sync(self) -> None:
        """Wait until what was written is on the disk itself."""
        for spill in list(self._spills.values()):
            spill.sync()

    def close(self) -> None:
        """Sync, and let go of the folder."""
        for spill in self._spills.values():
            spill.retire()
        self.sync()
        self._disk.close()

    def _open(self, destination: Destination | None) -> Spill:
        spill = Spill(
            self._folder,
            self._capacity_bytes,
            disk=self._disk,
            prefix="" if destination is None else "{}@{}.".format(*destination),
            others_bytes=partial(self._bytes_beside, destination),
        )
        self._spills[destination] = spill
        return spill

    def _bytes_beside(self, destination: Destination | None) -> int:
        return sum(s.bytes + s.set_aside_bytes for found, s in self._spills.items() if found != destination)


def _destination_of(name: str) -> Destination | None:
    """Return which partition a file is of: its name is `topic@partition.number.suffix`."""
    topic, at, rest = name.rpartition("@")
    partition = rest.partition(".")[0]
    is_number = partition.isascii() and partition.removeprefix("-").isdigit()
    return (topic, int(partition)) if at and is_number else None
