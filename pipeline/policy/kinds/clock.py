"""A feature that nobody has to send: what the clock shows in a declared time zone when it is decided.

Whoever encodes puts it into the context first, by the decision's own time, so a node, JOIN, a simulation and an
evaluation see the same. One that the context has already stands: what a node put there is what it decided by.

Time zones are those of the tzdata package, which the lock pins, and not the machine's: a machine that is behind would
show another hour.

Another such field is a word in `SHOWN`, with what it shows beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from pipeline.policy.kinds.feature import Feature


def _hour(at: datetime) -> float:
    return at.hour + at.minute / 60.0


def _weekday(at: datetime) -> float:
    return float(at.weekday())


class Shown(NamedTuple):
    """What a clock may show, from 0 on."""

    at: Callable[[datetime], float]
    """What it shows at a time."""
    last: float
    """The largest number."""


SHOWN: Mapping[str, Shown] = MappingProxyType(
    {"hour": Shown(_hour, 23.0 + 59.0 / 60.0), "weekday": Shown(_weekday, 6.0)}
)
"""An hour in [0, 24), by minutes; a weekday, Monday 0 to Sunday 6."""
_LATE_MS = 200_000_000_000_000
_CALENDAR_MS = 146_097 * 86_400_000
"""After 400 years days, weekdays and summers come again: so a zone may be ahead of the last year there is."""


@cache
def zone_names() -> frozenset[str]:
    """Return the names of all time zones."""
    return frozenset(files("tzdata").joinpath("zones").read_text("utf-8").split())


@cache
def _zone(name: str) -> ZoneInfo:
    with files("tzdata.zoneinfo").joinpath(*name.split("/")).open("rb") as known:
        return ZoneInfo.from_file(known, name)


@dataclass(frozen=True, slots=True)
class ClockFeature:
    """Another feature, and where its value comes from."""

    of: Feature
    """How the value is encoded."""
    shows: str
    """One of `SHOWN`."""
    time_zone: str
    """One of `zone_names`, such as Europe/Berlin."""

    @property
    def name(self) -> str:
        """Context field."""
        return self.of.name

    @property
    def width(self) -> int:
        """Entries in the context vector."""
        return self.of.width

    @property
    def texts(self) -> frozenset[str]:
        """Words that the policy names."""
        return self.of.texts

    def value(self, at_ms: int) -> float:
        """Return what the clock shows at a time, epoch milliseconds."""
        alike_ms = at_ms if at_ms < _LATE_MS else at_ms - _CALENDAR_MS
        return SHOWN[self.shows].at(datetime.fromtimestamp(alike_ms / 1000, _zone(self.time_zone)))

    def encode(self, value: object) -> tuple[int, ...]:
        """Encode one value. Raises InvalidRecordError, with one of `FEATURE_REASONS`."""
        return self.of.encode(value)

    def encode_column(self, values: Sequence[object], out: NDArray[np.int16]) -> NDArray[np.bool_]:
        """Encode `values` (m,) into `out` (m, width); return which rows are sound."""
        return self.of.encode_column(values, out)

    def possible(self, bits: int) -> int:
        """Return how many distinct entries there are in steps of 2^-bits, at most."""
        return self.of.possible(bits)

    def to_plain(self) -> dict[str, object]:
        """Give the JSON value."""
        return {**self.of.to_plain(), "clock": self.shows, "time_zone": self.time_zone}
