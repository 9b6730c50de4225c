"""Ties one process to the life of this one, even if this one is killed and can't clean up."""

from __future__ import annotations

import subprocess


class ParentWatch:
    """A shell that waits for the end of its input, which comes when this process ends, then kills `pid`."""

    def __init__(self, pid: int) -> None:
        # S603: the script is a constant, its argument is a number.
        self._shell = subprocess.Popen(  # noqa: S603
            ["/bin/sh", "-c", 'read -r _; kill -9 "$1"', "parent_watch", str(pid)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def cut(self) -> None:
        """Untie the process; to be called as soon as it has ended."""
        self._shell.kill()
        self._shell.communicate()
