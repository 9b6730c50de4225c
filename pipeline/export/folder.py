"""A folder that holds a whole export, or the one before it, and never a half.

    .NAME.new/    what is being written; locked by who writes it
    NAME/         an export, as `_export.json` in it says
    .NAME.old/    the one before it, while the new one takes its place

Whoever reads NAME meanwhile finds the old one, for a moment none, then the new one. What a killed process left behind
is put right by the next: without NAME, the old one is put back.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pipeline.errors import ConfigError

MANIFEST = "_export.json"


def check_place(folder: Path) -> None:
    """See that an export may be put there.

    Raises:
        ConfigError: something else is there.
    """
    if folder.is_dir() and (folder / MANIFEST).is_file():
        return
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        fault = f"{folder} is there, and no export: an export replaces the whole folder; name another one"
        raise ConfigError("--out", [fault])


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """Give a folder to write into, which takes the place of `folder` when the block ends well; else it is removed.

    Raises:
        ConfigError: something else is there, or another export writes there.
    """
    folder = folder.absolute()
    folder.parent.mkdir(parents=True, exist_ok=True)
    new, old = (folder.with_name(f".{folder.name}.{which}") for which in ("new", "old"))
    new.mkdir(exist_ok=True)
    lock = os.open(new, os.O_RDONLY)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError("--out", [f"another export is writing {folder}: wait for it, or name another"]) from error
        if old.exists() and not folder.exists():
            old.rename(folder)
        check_place(folder)
        _empty(new)
        try:
            yield new
            _sync(new)
            _put(new, folder, old)
        except BaseException:
            shutil.rmtree(new, ignore_errors=True)
            raise
    finally:
        os.close(lock)


def _put(new: Path, folder: Path, old: Path) -> None:
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    new.rename(folder)
    _sync_folder(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _sync(folder: Path) -> None:
    for path in folder.rglob("*"):
        _sync_folder(path)
    _sync_folder(folder)


def _sync_folder(path: Path) -> None:
    place = os.open(path, os.O_RDONLY)
    with suppress(OSError):  # a file system that syncs no folders
        os.fsync(place)
    os.close(place)
