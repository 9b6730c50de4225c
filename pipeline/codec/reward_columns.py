"""The ledger's records (`schemas/reward.avsc`), read a batch at a time: numpy walks through all of them side by side.

Each record has its own place in the batch's bytes, and every place moves behind one field after the other. What is not
as it mostly is, is left to `codec/reward.py`: another schema, an erasure, tallies, the analysis group, what is
undecodable, numbers of more than nine bytes, arrays in several blocks, and whatever is damaged, so that it is said
there what is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.codec import avro
from pipeline.codec.reward import LAYOUT

Integers = NDArray[np.int64]
Bytes = NDArray[np.uint8]
Mask = NDArray[np.bool_]

_HEAD = np.frombuffer(avro.MARKER + LAYOUT, np.uint8)
_LONG_BYTES = 9
"""Of longs up to these, seven bits of each byte fit an int64."""
_DOUBLE_BYTES = 8
_LAST_FLAGS = 5
"""Not erased, its reward not final, no tallies, not of the analysis group, not undecodable: bytes of zero end a plain
record."""
# A place that ran off the end of the batch still finds a header, or a long that ends.
_PADDING = bytes(len(_HEAD) + _LONG_BYTES)


@dataclass(slots=True)
class RewardColumns:
    """What a fold asks for, by record. Where `is_plain` says no, the others say nothing."""

    is_plain: Mask
    action_ids: list[bytes]
    names: list[bytes]
    """Policy, generation, segment and arm as they are written: equal if they are."""
    vectors: list[bytes]
    bucket: Integers
    revision: Integers
    reward: Integers
    expires_at_ms: Integers
    event_time_ms: Integers


def read_columns(raws: Sequence[bytes]) -> RewardColumns:
    """Read ledger records, at least one."""
    walk, starts = _begin(raws)
    walk.skip(np.full(len(raws), len(_HEAD)))
    id_start, id_stop = walk.text()
    revision = walk.long()
    walk.at += 1  # is_settled
    names_start = walk.at.copy()
    walk.text()
    walk.long()
    walk.text()
    walk.text()
    names_stop = walk.at.copy()
    reward = walk.long()
    walk.long()  # reward_exponent
    vector_start, vector_stop = walk.text()
    walk.long()  # decided_at_ms
    bucket, expires_at_ms, event_time_ms = walk.long(), walk.long(), walk.long()
    walk.text()  # attribution
    _skip_outcomes(walk)
    walk.long()  # outcomes_before
    walk.text()  # decision
    flags = walk.buffer[np.minimum(walk.at, walk.stops)[:, None] + np.arange(_LAST_FLAGS)]
    head = walk.buffer[starts[:, None] + np.arange(len(_HEAD))]
    is_plain = walk.is_fine & (walk.at + _LAST_FLAGS == walk.stops) & ~flags.any(axis=1) & (head == _HEAD).all(axis=1)
    action_ids = _slices(raws, id_start - starts, id_stop - starts)
    names = _slices(raws, names_start - starts, names_stop - starts)
    for texts in (action_ids, names):
        if not b"".join(texts).isascii():
            is_plain &= np.array([_is_text(one) for one in texts])
    return RewardColumns(
        is_plain,
        action_ids,
        names,
        _slices(raws, vector_start - starts, vector_stop - starts),
        bucket,
        revision,
        reward,
        expires_at_ms,
        event_time_ms,
    )


@dataclass(slots=True)
class _Walk:
    """A place in each of some records."""

    buffer: Bytes
    at: Integers
    stops: Integers
    is_fine: Mask
    """Whether nothing odd was met so far; places only move on, so what ends at its stop never was beyond it."""

    def long(self) -> Integers:
        """Move behind a long; return it."""
        byte = self.buffer[self.at].astype(np.int64)
        value, goes_on, shift = byte & 127, byte > 127, 7
        self.at += 1
        while goes_on.any():
            if shift == 7 * _LONG_BYTES:
                self.is_fine &= ~goes_on
                break
            byte = np.where(goes_on, self.buffer[self.at], 0).astype(np.int64)
            value |= (byte & 127) << shift
            self.at += goes_on
            goes_on, shift = byte > 127, shift + 7
        np.minimum(self.at, self.stops, out=self.at)
        return (value >> 1) ^ -(value & 1)

    def skip(self, length: Integers) -> None:
        """Move on by so many bytes."""
        self.is_fine &= (length >= 0) & (length <= self.stops - self.at)
        self.at = np.clip(self.at + length, 0, self.stops)

    def text(self) -> tuple[Integers, Integers]:
        """Move behind a string or bytes; return where they begin and end."""
        length = self.long()
        start = self.at
        self.skip(length)
        return start, self.at.copy()


def _begin(raws: Sequence[bytes]) -> tuple[_Walk, Integers]:
    stops = np.cumsum([len(raw) for raw in raws], dtype=np.int64)
    starts = np.append(0, stops[:-1])
    buffer = np.frombuffer(b"".join((*raws, _PADDING)), np.uint8)
    return _Walk(buffer, starts.copy(), stops, np.ones(len(raws), np.bool_)), starts


def _skip_outcomes(walk: _Walk) -> None:
    """Move behind an array of credits: one block and its end, or the end alone."""
    left = walk.long()
    walk.is_fine &= left >= 0
    some = np.flatnonzero(left > 0)
    ended = some
    while len(some):
        inner = _Walk(walk.buffer, walk.at[some], walk.stops[some], walk.is_fine[some])
        inner.text()  # outcome_id
        inner.text()  # kind
        inner.skip(np.full(len(some), _DOUBLE_BYTES))
        inner.long()  # occurred_at_ms
        walk.at[some], walk.is_fine[some] = inner.at, inner.is_fine
        left[some] -= 1
        some = some[(left[some] > 0) & inner.is_fine]
    walk.is_fine[ended] &= walk.buffer[walk.at[ended]] == 0
    walk.at[ended] += 1


def _slices(raws: Sequence[bytes], starts: Integers, stops: Integers) -> list[bytes]:
    places = zip(raws, starts.tolist(), stops.tolist(), strict=True)
    return [raw[start:stop] for raw, start, stop in places]


def _is_text(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True
