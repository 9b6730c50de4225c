"""A feature that nobody has to send: what the clock shows in a declared time zone when it is decided.

Whoever encodes puts it into the context first, by the decision's own time, so a node, JOIN, a simulation and an
evaluation see the same. One that the context has already stands: what a node put there is what it decided by.

Another such field is a word in `SHOWN`, and a function beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from pipeline.policy.kinds.feature import Feature


def _hour(at: datetime) -> float:
    return at.hour + at.minute / 60.0


def _weekday(at: datetime) -> float:
    return float(at.weekday())


SHOWN: Mapping[str, Callable[[datetime], float]] = MappingProxyType({"hour": _hour, "weekday": _weekday})
"""What a clock may show: an hour in [0, 24), by minutes; a weekday, Monday 0 to Sunday 6."""


@dataclass(frozen=True, slots=True)
class ClockFeature:
    """Another feature, and where its value comes from."""

    of: Feature
    """How the value is encoded."""
    shows: str
    """One of `SHOWN`."""
    time_zone: str
    """By the IANA database, such as Europe/Berlin."""
    _zone: ZoneInfo = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_zone", ZoneInfo(self.time_zone))

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
        return SHOWN[self.shows](datetime.fromtimestamp(at_ms / 1000, self._zone))

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
