"""What a line of the log looks like: text for people, or a JSON document for a program that collects logs.

Code says `log.info("snapshot-published policy=%s version=%s", name, 7)`: an event's name, then fields. A program is
given them apart, with their types; of a line that is a sentence, as those of libraries, it is given the sentence.
"""

from __future__ import annotations

import logging
import re
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from pipeline.settings import LogFormat

TEXT: Final = "%(asctime)s %(levelname)s %(name)s %(message)s"
_EVENT = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)+(?=$|[ :])|[a-z]+(?= [a-z_]+=)")
_PLACE = re.compile(r"(?:\b(?P<name>[a-z_]+)=)?['\"]?%(?:%|[-+ #0]*\d*(?:\.\d+)?[a-z])")
_RESERVED = frozenset({"time", "level", "logger", "event", "message", "more", "more_within_s", "exception"})


class TextLines(logging.Formatter):
    """A line for people."""

    def __init__(self) -> None:
        super().__init__(TEXT)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  as logging names it
        """Return the line, with how many like it were not said."""
        line = super().formatMessage(record)
        more = getattr(record, "more", 0)
        return f"{line} [and {more} more like it in {record.more_within_s} s]" if more else line  # type: ignore[attr-defined]


class JsonLines(logging.Formatter):
    """One JSON document a line: `time`, `level`, `logger`, `event` where it has a name, `message`, and its fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the document.

        >>> record = logging.LogRecord("pipeline.x", 20, "", 1, "arm-added policy=%s arms=%s", ("shop", 3), None)
        >>> record.created = 0.0
        >>> print(JsonLines().format(record))
        {"time":"1970-01-01T00:00:00.000+00:00","level":"INFO","logger":"pipeline.x","message":"arm-added policy=shop \
arms=3","event":"arm-added","policy":"shop","arms":3}
        """
        told: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if event := _EVENT.match(str(record.msg)):
            told["event"] = event[0]
            told |= fields_of(str(record.msg), record.args)
        if more := getattr(record, "more", 0):
            told |= {"more": more, "more_within_s": record.more_within_s}  # type: ignore[attr-defined]
        if record.exc_info:
            told["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(told, default=str, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY).decode()


def fields_of(template: str, arguments: Any) -> dict[str, Any]:
    """Return what stands behind `name=` in a message's template.

    >>> fields_of("lane-failed topic=%s partition=%d after %s tries level=%s", ("a", 3, 5, "x"))
    {'topic': 'a', 'partition': 3, 'level_': 'x'}
    """
    if not isinstance(arguments, tuple):
        return {}
    names = [place["name"] for place in _PLACE.finditer(template) if not place[0].endswith("%%")]
    given = ((name, value) for name, value in zip(names, arguments, strict=False) if name)
    return {f"{name}_" if name in _RESERVED else name: value for name, value in given}


FORMATTERS: Final[dict[LogFormat, type[logging.Formatter]]] = {"text": TextLines, "json": JsonLines}
