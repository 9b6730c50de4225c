"""What LEARN remembers: what each action counts for at present, and how far the ledger is folded."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import orjson

from pipeline.errors import StateError
from pipeline.models.sums.statistics import Statistics
from pipeline.models.sums.tally import Tally

VERSION = 1
TALLIED_VERSION = 2
OWING_VERSION = 2
"""Of how far the ledger is folded, where statistics are owed: a release that knows of none would never send them."""
NOT_YET_MS = -1
NEVER_MS = 1 << 62
_COUNTED = struct.Struct("<Bqqq")
COUNTED = np.dtype([("version", "u1"), ("revision", "<i8"), ("reward", "<i8"), ("expires_at_ms", "<i8")])
"""Many of version 1, stored one behind the other."""
_LENGTH = struct.Struct("<H")
_SUMS_HEAD = struct.Struct("<Bi")


class Counted(NamedTuple):
    """What one action counts for in its statistics row.

    Stored as B version | q revision | q reward | q expires_at_ms, and in version 2 | H length | tallies (JSON).
    """

    revision: int
    reward: int
    """Grid units."""
    expires_at_ms: int
    """Event time after which no revision can come, so that this can be forgotten; `NEVER_MS` once it is erased."""
    tallies: tuple[Tally, ...] = ()
    """What it counts for beside."""

    @property
    def is_erased(self) -> bool:
        """Whether the action counts for nothing, for ever."""
        return self.expires_at_ms == NEVER_MS

    def to_bytes(self) -> bytes:
        """Write the stored form."""
        if not self.tallies:
            return _COUNTED.pack(VERSION, self.revision, self.reward, self.expires_at_ms)
        tallies = tallies_to_bytes(self.tallies)
        head = _COUNTED.pack(TALLIED_VERSION, self.revision, self.reward, self.expires_at_ms)
        return head + _LENGTH.pack(len(tallies)) + tallies


def tallies_to_bytes(tallies: Sequence[Tally]) -> bytes:
    """Write what an action counts for beside."""
    return orjson.dumps(tallies, default=list)


def counted_from_bytes(stored: bytes) -> Counted:
    """Read the stored form.

    Raises:
        StateError: written by a version that this code does not know.
    """
    version, revision, reward, expires_at_ms = _COUNTED.unpack_from(stored)
    if version == TALLIED_VERSION:
        tallies = orjson.loads(stored[_COUNTED.size + _LENGTH.size : counted_bytes(stored)])
        return Counted(revision, reward, expires_at_ms, tuple(Tally(*tally) for tally in tallies))
    _require(version, "counted action")
    return Counted(revision, reward, expires_at_ms)


def counted_bytes(stored: bytes) -> int:
    """Return how long the stored form of a `Counted` is, whatever stands behind it."""
    if stored[0] != TALLIED_VERSION:
        return _COUNTED.size
    length: int = _LENGTH.unpack_from(stored, _COUNTED.size)[0]
    return _COUNTED.size + _LENGTH.size + length


def expires_of(stored: bytes) -> int:
    """Read only `expires_at_ms` of a stored `Counted`."""
    expires_at_ms: int = _COUNTED.unpack_from(stored)[3]
    return expires_at_ms


def statistics_to_bytes(statistics: Statistics) -> bytes:
    """Write the stored form of one statistics row."""
    return _SUMS_HEAD.pack(VERSION, statistics.dimension) + statistics.to_bytes()


def statistics_from_bytes(stored: bytes) -> Statistics:
    """Read the stored form of one statistics row.

    Raises:
        StateError: written by a version that this code does not know.
    """
    version, dimension = _SUMS_HEAD.unpack_from(stored)
    _require(version, "statistics row")
    return Statistics(dimension, np.frombuffer(stored, dtype="<i8", offset=_SUMS_HEAD.size))


class RowKey(NamedTuple):
    """Names one row of statistics."""

    policy: str
    generation: int
    segment: str
    arm: str
    bucket: int
    tally: str = ""
    """Names a row of tallies beside the sums; empty: the sums."""

    def parts(self) -> Sequence[str | int]:
        """Return what the key is written as; the sums' as ever since."""
        return self if self.tally else self[:5]

    def to_bytes(self) -> bytes:
        """Write the key, as JSON.

        >>> RowKey("homepage", 1, "new", "hybrid", 18589).to_bytes()
        b'["homepage",1,"new","hybrid",18589]'
        """
        return orjson.dumps(list(self.parts()))


@dataclass(slots=True)
class FoldState:
    """How far one partition of the ledger is folded."""

    position: int = 0
    """Next ledger offset to fold."""
    watermark_ms: int = NOT_YET_MS
    """Highest event time stamped on a ledger record."""

    def to_bytes(self, *, is_owing: bool = False) -> bytes:
        """Write the stored form.

        Args:
            is_owing: whether not all statistics up to here are sent (`owed.py`).
        """
        return orjson.dumps([OWING_VERSION if is_owing else VERSION, self.position, self.watermark_ms])


def fold_state_from_bytes(stored: bytes) -> FoldState:
    """Read the stored form.

    Raises:
        StateError: written by a version that this code does not know.
    """
    version, position, watermark_ms = orjson.loads(stored)
    if version != OWING_VERSION:
        _require(version, "LEARN state")
    return FoldState(position, watermark_ms)


def _require(version: int, what: str) -> None:
    if version != VERSION:
        raise StateError(f"{what} of version {version}, this code reads {VERSION}: use the release that wrote it")
