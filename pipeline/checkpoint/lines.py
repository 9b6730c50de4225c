"""What is remembered of a partition of the ledger, line by line. Pure.

Each line is a JSON array without spaces, in UTF-8. They stand in this order:

    ["a", expires_at_ms, action_id, revision, reward, [[row, width, column, amount], …]]   of an open action
        by expiry, then by id
    ["e", action_id, revision]                                                             of an erased one
        by id
    ["s", [policy, generation, segment, arm, bucket], dimension, [n, Σr, Σr², …]]          of a row of statistics
        by the bytes of its key as JSON; a row of tallies has its name behind the bucket

An action is open while event time has not passed its expiry: from then on no record can revise it. A row all of whose
columns are 0 is left out. So the lines are a function of what was folded, whatever was forgotten when.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson

from pipeline.errors import StateError
from pipeline.learn.memory import NEVER_MS, Counted, RowKey
from pipeline.models.sums.statistics import Statistics
from pipeline.models.sums.tally import Tally

OPEN, ERASED, SUMS = "a", "e", "s"
_HOW = orjson.OPT_APPEND_NEWLINE | orjson.OPT_SERIALIZE_NUMPY

Remembered = tuple[str, Counted] | tuple[RowKey, Statistics]
"""What a line says: an action and what it counts for, or a row and its sums."""


def open_line(action_id: str, counted: Counted) -> bytes:
    r"""Write what an action counts for that may still be revised.

    >>> open_line("x", Counted(2, 1024, 60_000))
    b'["a",60000,"x",2,1024,[]]\n'
    """
    fields = [OPEN, counted.expires_at_ms, action_id, counted.revision, counted.reward, counted.tallies]
    return orjson.dumps(fields, default=list, option=_HOW)


def erased_line(action_id: str, counted: Counted) -> bytes:
    """Write that an action counts for nothing, for ever."""
    return orjson.dumps([ERASED, action_id, counted.revision], option=_HOW)


def sums_line(key: RowKey, row: Statistics) -> bytes:
    r"""Write a row of statistics; nothing where all of it is 0.

    >>> sums_line(RowKey("homepage", 1, "new", "hybrid", 18589), Statistics(0, np.array([2, 5, 13])))
    b'["s",["homepage",1,"new","hybrid",18589],0,[2,5,13]]\n'
    """
    if not row.sums.any():
        return b""
    return orjson.dumps([SUMS, list(key.parts()), row.dimension, row.sums], option=_HOW)


def read_line(line: bytes) -> Remembered:
    """Return what a line says.

    Raises:
        StateError: it says nothing that this code knows.
    """
    try:
        kind, *fields = orjson.loads(line)
        read: Remembered = _READERS[kind](*fields)
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise StateError(f"a checkpoint's line {line[:80]!r} can't be read: {error!r}") from error
    return read


def _open(expires_ms: int, action_id: str, revision: int, reward: int, tallies: list[Any]) -> Remembered:
    return action_id, Counted(revision, reward, expires_ms, tuple(Tally(*tally) for tally in tallies))


def _erased(action_id: str, revision: int) -> Remembered:
    return action_id, Counted(revision, 0, NEVER_MS)


def _sums(key: list[Any], dimension: int, columns: list[int]) -> Remembered:
    return RowKey(*key), Statistics(dimension, np.array(columns, np.int64))


_READERS: Any = {OPEN: _open, ERASED: _erased, SUMS: _sums}
