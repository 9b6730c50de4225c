"""What the spill asks of a disk: a folder of one process, and files that only grow, for nobody else's eyes.

Every operation may raise OSError, and a write may take less than it was given: whoever calls answers for both.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import BinaryIO, Protocol

FOLDER_MODE = 0o700
FILE_MODE = 0o600


class AppendFile(Protocol):
    """A file that is being written."""

    def write(self, content: bytes, /) -> int:
        """Write behind what is there; return how many bytes were taken."""

    def truncate(self, size: int, /) -> object:
        """Let go of what stands behind `size`."""

    def sync(self) -> None:
        """Wait until all of it is on the disk itself."""

    def close(self) -> None:
        """Let go of it."""


class Disk(Protocol):
    """A folder."""

    def names(self) -> list[str]:
        """Return the files in it, sorted."""

    def create(self, name: str) -> AppendFile:
        """Begin a file."""

    def open(self, name: str) -> BinaryIO:
        """Open a file to read it."""

    def size(self, name: str) -> int:
        """Return how long a file is."""

    def remove(self, name: str) -> None:
        """Remove a file."""

    def rename(self, name: str, to: str) -> None:
        """Give a file another name."""

    def sync(self) -> None:
        """Wait until the names themselves are on the disk."""

    def close(self) -> None:
        """Let the next process have the folder."""


class FolderDisk:
    """A folder of the system's, held by a lock: 0700, its files 0600."""

    def __init__(self, folder: Path) -> None:
        """Take the folder.

        Raises:
            BlockingIOError: another process holds it.
            OSError: it can't be used.
        """
        self._folder = folder
        folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        self._descriptors = [os.open(folder, os.O_RDONLY | os.O_DIRECTORY)]
        try:
            about = os.fstat(self._descriptors[0])
            if about.st_uid == os.geteuid():
                os.fchmod(self._descriptors[0], FOLDER_MODE)
            elif about.st_mode & stat.S_IWOTH:
                raise PermissionError(
                    errno.EPERM, f"it is of user {about.st_uid} and everybody may write there: records could be put in"
                )
            # What is no file would be waited for: a pipe that nobody reads.
            flags = os.O_CREAT | os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW
            self._descriptors.append(os.open(folder / "lock", flags, FILE_MODE))
            fcntl.flock(self._descriptors[1], fcntl.LOCK_EX | fcntl.LOCK_NB)
            for name in self.names():
                with suppress(PermissionError):  # an earlier release left them to everybody; others' are others'
                    folder.joinpath(name).chmod(FILE_MODE)
        except OSError:
            self.close()
            raise

    def names(self) -> list[str]:
        """Return the files in it, sorted."""
        return sorted(path.name for path in self._folder.iterdir() if path.is_file() and path.name != "lock")

    def create(self, name: str) -> AppendFile:
        """Begin a file."""
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND
        return _SystemFile(os.fdopen(os.open(self._folder / name, flags, FILE_MODE), "ab", buffering=0))

    def open(self, name: str) -> BinaryIO:
        """Open a file to read it."""
        return (self._folder / name).open("rb")

    def size(self, name: str) -> int:
        """Return how long a file is."""
        return (self._folder / name).stat().st_size

    def remove(self, name: str) -> None:
        """Remove a file."""
        (self._folder / name).unlink()

    def rename(self, name: str, to: str) -> None:
        """Give a file another name."""
        (self._folder / name).rename(self._folder / to)

    def sync(self) -> None:
        """Wait until the names themselves are on the disk."""
        os.fsync(self._descriptors[0])

    def close(self) -> None:
        """Let the next process have the folder."""
        while self._descriptors:
            os.close(self._descriptors.pop())


class _SystemFile:
    def __init__(self, file: FileIO) -> None:
        self.write, self.truncate, self.close = file.write, file.truncate, file.close
        self._file = file

    def sync(self) -> None:
        with suppress(ValueError):  # closed meanwhile
            os.fsync(self._file.fileno())
