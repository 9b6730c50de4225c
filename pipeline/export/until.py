"""Up to where a ledger is exported, and which ledger that was: the present end, or that of an earlier export."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from pipeline.errors import ConfigError
from pipeline.export.folder import MANIFEST
from pipeline.stream.log.topics import REWARDS


class Log(NamedTuple):
    """A topic, as it is read."""

    topic_id: str
    """Empty: the brokers tell none."""
    ends: Mapping[int, int]
    """By partition: up to where."""

    def plain(self) -> dict[str, Any]:
        """Give the JSON value."""
        return {"topic_id": self.topic_id, "ends": {str(number): end for number, end in self.ends.items()}}


def read_as_of(path: Path, present: Log) -> Log:
    """Return up to where an earlier export has read.

    Raises:
        ConfigError: it is no export's, or of another log than the present one, or of one that has lost its end.
    """
    try:
        told = orjson.loads(path.read_bytes())[REWARDS]
        log = Log(str(told["topic_id"]), {int(number): int(end) for number, end in told["ends"].items()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError("--as-of", [f"{path} is no export's {MANIFEST}: {error!r}"]) from error
    if log.topic_id != present.topic_id:
        fault = f"{path} is of the topic {log.topic_id!r}; {REWARDS} is another one now: {present.topic_id!r}"
        raise ConfigError("--as-of", [fault])
    if unknown := sorted(log.ends.keys() - present.ends.keys()):
        raise ConfigError("--as-of", [f"{path} names partitions that {REWARDS} does not have: {unknown}"])
    lost = {number: end for number, end in present.ends.items() if end < log.ends.get(number, 0)}
    if lost:
        faults = [f"partition {number} ends at {end}, {log.ends[number]} was read" for number, end in lost.items()]
        raise ConfigError("--as-of", [f"{REWARDS} has lost its end since {path}: {one}" for one in faults])
    return log
