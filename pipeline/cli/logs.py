"""How processes log: to stderr, an event name and fields a line (`log_lines.py`), and never endlessly much of anything.

While a broker is away, aiokafka and Faust say so several times a second. So of every kind of line but this package's
own news, a few are said at once and one a minute after that (`repeats.py`): a change is seen when it comes, and an
outage of hours does not fill the disk.
"""

from __future__ import annotations

import copy
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

from pipeline.cli.log_lines import FORMATTERS
from pipeline.cli.repeats import MOST_KEYS, Repeats, Told, kind_of
from pipeline.settings import LogFormat

OURS = "pipeline."
OURS_AT_ONCE = 10
"""As many partitions as one worker usually has may each say that something has changed."""
OTHERS_AT_ONCE = 2


class BoundedHandler(logging.StreamHandler[Any]):
    """Writes lines, and counts those that repeat others."""

    def __init__(
        self, stream: Any = None, clock_s: Callable[[], float] = time.monotonic, log_format: LogFormat = "text"
    ) -> None:
        super().__init__(stream)
        self.setFormatter(FORMATTERS[log_format]())
        self._clock_s = clock_s
        self._repeats = Repeats()
        self._last: OrderedDict[Hashable, logging.LogRecord] = OrderedDict()
        """By key, the last line that was counted instead of said."""

    def emit(self, record: logging.LogRecord) -> None:
        """Say a line, or count it; and say first what was counted long enough."""
        now_s = self._clock_s()
        for counted, more in self._repeats.due(now_s):
            self._say_again(counted, more)
        is_ours = record.name.startswith(OURS)
        if is_ours and record.levelno < logging.WARNING:
            super().emit(record)  # news: what was published, restored, claimed
            return
        key = record.name, record.levelno, kind_of(str(record.msg))
        told = self._repeats.take(key, OURS_AT_ONCE if is_ours else OTHERS_AT_ONCE, now_s)
        if told is not None:
            self._last.pop(key, None)
            super().emit(_with_count(record, told))
            return
        self._last[key] = record
        self._last.move_to_end(key)
        if len(self._last) > MOST_KEYS:
            self._last.popitem(last=False)

    def close(self) -> None:
        """Say what was counted and not said yet."""
        self.acquire()
        try:
            for key, told in self._repeats.rest(self._clock_s()):
                self._say_again(key, told)
            self._last.clear()
        finally:
            self.release()
        super().close()

    def _say_again(self, key: Hashable, told: Told) -> None:
        record = self._last.pop(key, None)
        if record is not None:
            super().emit(_with_count(record, told, itself=1))


def _with_count(record: logging.LogRecord, told: Told, itself: int = 0) -> logging.LogRecord:
    """Return a line that says how many like it were not said; where it came from, it says the first time alone."""
    more = told.more - itself
    if told.is_first and not more:
        return record
    said = copy.copy(record)
    said.exc_info = said.exc_text = said.stack_info = None
    if more > 0:
        said.more, said.more_within_s = more, round(told.within_s)
    return said


def log_to_stderr(level: int | str, log_format: LogFormat = "text") -> None:
    """Let this process log."""
    logging.basicConfig(level=level, handlers=[BoundedHandler(log_format=log_format)])
