"""Files that are read again when they change, so that keys, secrets and certificates are changed without a restart.

A file that can't be used leaves in force what was, and is told once.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.errors import ConfigError

log = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0
Seen = tuple[tuple[int, int, int], ...]


@dataclass(slots=True)
class Renewed:
    """Files that are one thing together, as a certificate and its key are."""

    paths: Sequence[Path]
    take: Callable[[], None]
    """Reads them and puts them in force. Raises ConfigError, OSError, ssl.SSLError: they can't be used."""
    seen: Seen = field(default=(), init=False)

    def __post_init__(self) -> None:
        self.seen = self._look()

    def look(self) -> None:
        """Take them if they have changed."""
        found = self._look()
        if not found or found == self.seen:
            return
        self.seen = found
        shown = ", ".join(map(str, self.paths))
        try:
            self.take()
        except (ConfigError, OSError, UnicodeError, ssl.SSLError) as error:
            log.error("not-renewed files=%s kept=the-last-ones fault=%s", shown, " ".join(str(error).split()))  # noqa: TRY400
        else:
            log.info("renewed files=%s", shown)

    def _look(self) -> Seen:
        """Return what changes when a file does; nothing while one is not there, as in the midst of being replaced."""
        try:
            found = [path.stat() for path in self.paths]
        except OSError:
            return ()
        return tuple((each.st_mtime_ns, each.st_size, each.st_ino) for each in found)


async def keep_renewed(all_files: Sequence[Renewed]) -> None:
    """Look at files for ever."""
    while True:
        await asyncio.sleep(LOOK_EVERY_S)
        for each in all_files:
            each.look()
