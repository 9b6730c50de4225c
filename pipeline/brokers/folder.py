"""The folder that one local Kafka runs in, held by at most one at a time.

    <cache>/kafka/
        setup.lock       held while jars are resolved or a folder is chosen
        jars-<version>/
        data/            of the Kafka whose data stay       each of these: lock, server.properties,
        fresh-<random>/  of one that is removed at the end  log4j2.properties, data/, logs/

A lock belongs to an open file, so Kafka inherits it: the folder is held until the process that started
Kafka *and* Kafka have ended, however they ended.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import ConfigError


class Folder:
    """A folder held by this process; `lock` is the file descriptor to hand on to Kafka."""

    def __init__(self, path: Path, lock: int, *, is_fresh: bool) -> None:
        self.path = path
        self.lock = lock
        self._is_fresh = is_fresh
        self.is_held = True

    def note(self, text: str) -> None:
        """Leave word for whoever finds this folder held."""
        os.ftruncate(self.lock, 0)
        os.pwrite(self.lock, text.encode(), 0)

    def release(self) -> None:
        """Let go of the folder, and remove it if it was a fresh one; a second call does nothing."""
        if not self.is_held:
            return
        self.is_held = False
        if self._is_fresh:
            shutil.rmtree(self.path, ignore_errors=True)
        os.close(self.lock)


@contextmanager
def taking_turns(root: Path) -> Iterator[None]:
    """Wait until no other process sets up under `root`, and keep it so."""
    root.mkdir(parents=True, exist_ok=True)
    with (root / "setup.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def take_folder(root: Path, *, fresh: bool) -> Folder:
    """Take the folder whose data stay, or a fresh one; to be called while `taking_turns`.

    Raises ConfigError if the data are in use by another Kafka.
    """
    if fresh:
        _remove_left_over(root)
        path = Path(tempfile.mkdtemp(prefix="fresh-", dir=root))
    else:
        path = root / "data"
        path.mkdir(exist_ok=True)
    lock = _try_lock(path)
    if lock is None:
        note = (path / "lock").read_text("utf-8") or "it is just starting"
        raise ConfigError("broker 'kafka'", [f"a local Kafka already runs on the data in {path}: {note}"])
    return Folder(path, lock, is_fresh=fresh)


def _try_lock(path: Path) -> int | None:
    lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


def _remove_left_over(root: Path) -> None:
    """Remove the fresh folders of processes that were killed before they could."""
    for path in root.glob("fresh-*"):
        try:
            lock = _try_lock(path)
        except FileNotFoundError:
            continue  # its owner is just removing it
        if lock is not None:
            shutil.rmtree(path, ignore_errors=True)
            os.close(lock)
