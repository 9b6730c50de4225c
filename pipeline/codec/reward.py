"""The ledger's records (`schemas/reward.avsc`), written and read by hand: a worker does both once per event.

The bytes are those that `codec/avro.py` writes, which a test holds; it takes over for any schema but `LAYOUT`. What
makes this faster: records of a step share most of their pieces (names, times, the rules' hash), whose bytes and values
are kept in dictionaries that live as long as a batch; and the reader steps over what no fold asks for.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from pipeline.codec import avro
from pipeline.codec.interned import Interned
from pipeline.codec.schemas import current_schema
from pipeline.codec.varints import behind_long, long, read_long, read_long_as_byte, text, varint
from pipeline.errors import DecodeError

LAYOUT = bytes.fromhex("6aee171c7f4ec17d")
"""Fingerprint of the schema that this file knows. With another current one, records take the general way."""
WHOLE = -1
"""As `outcomes_before`: nothing is left out."""
_HEAD = avro.MARKER + LAYOUT
_DOUBLE = struct.Struct("<d")
_FALSE, _TRUE = b"\0", b"\1"

Names = tuple[str, int, str, str]
"""policy, generation, segment, arm"""

Tallies = Sequence[tuple[str, int, int, int]]
"""(row, width, column, amount) each."""

RewardFields = tuple[str, Names, int, int, int, bytes, int, int, bool, bool, Tallies, bool, str]
"""What a fold asks for: action_id, names, bucket, revision, reward, context_vector, expires_at_ms, event_time_ms,
is_erased, is_reward_final, tallies, is_analysis, undecodable."""

_CREDIT = ("outcome_id", "kind", "value", "occurred_at_ms")
_TALLY = ("row", "width", "column", "amount")


class Reward(NamedTuple):
    """A ledger record; see `schemas/reward.avsc`."""

    action_id: str
    revision: int
    is_settled: bool
    policy: str
    generation: int
    segment: str
    arm: str
    reward: int
    reward_exponent: int
    context_vector: bytes
    decided_at_ms: int
    bucket: int
    expires_at_ms: int
    event_time_ms: int
    attribution: str
    outcomes: Sequence[tuple[str, str, float, int]]
    """(outcome_id, kind, value, occurred_at_ms) each, as they were credited."""
    outcomes_before: int
    decision: bytes
    is_erased: bool = False
    is_reward_final: bool = False
    tallies: Tallies = ()
    is_analysis: bool = False
    undecodable: str = ""

    def fields(self) -> dict[str, Any]:
        """Return the record as the schema has it."""
        return {
            **self._asdict(),
            "outcomes": [dict(zip(_CREDIT, one, strict=True)) for one in self.outcomes],
            "tallies": [dict(zip(_TALLY, one, strict=True)) for one in self.tallies],
        }


# Zigzag doubles a number, so its lowest 13 bits are the first two bytes of its varint, which goes on behind them.
_LAST_BITS = 13
_LAST_MS = (1 << _LAST_BITS) - 1
_LAST = [bytes((2 * n & 127 | 128, n >> 6 | 128)) for n in range(1 << _LAST_BITS)]

# A varint of six bytes: what epoch milliseconds are from 1978 to 2109, and so what most integers here are.
_TIME_BYTES = 6


class RewardWriter:
    """Writes the records of one batch."""

    def __init__(self) -> None:
        self._is_known = current_schema("reward").fingerprint == LAYOUT
        self._names = Interned(_names)
        self._longs = Interned(long)
        self._longs_behind = Interned(varint)
        self._texts = Interned(text)

    def write(self, record: Reward) -> bytes:
        """Return the bytes of one ledger record."""
        if not self._is_known:
            return avro.encode("reward", record.fields())
        (
            action_id,
            revision,
            is_settled,
            policy,
            generation,
            segment,
            arm,
            reward,
            reward_exponent,
            context_vector,
            decided_at_ms,
            bucket,
            expires_at_ms,
            event_time_ms,
            attribution,
            outcomes,
            outcomes_before,
            decision,
            is_erased,
            is_reward_final,
            tallies,
            is_analysis,
            undecodable,
        ) = record
        longs, time = self._longs, self._time
        raw_id = action_id.encode()
        return b"".join(
            (
                _HEAD,
                longs[len(raw_id)],
                raw_id,
                longs[revision],
                _TRUE if is_settled else _FALSE,
                self._names[policy, generation, segment, arm],
                longs[reward],
                longs[reward_exponent],
                longs[len(context_vector)],
                context_vector,
                time(decided_at_ms),
                longs[bucket],
                time(expires_at_ms),
                longs[event_time_ms],
                self._texts[attribution],
                self._outcomes(outcomes) if outcomes else _FALSE,
                longs[outcomes_before],
                longs[len(decision)],
                decision,
                _TRUE if is_erased else _FALSE,
                _TRUE if is_reward_final else _FALSE,
                _tallies(tallies) if tallies else _FALSE,
                _TRUE if is_analysis else _FALSE,
                self._texts[undecodable] if undecodable else _FALSE,
            )
        )

    def _time(self, time_ms: int) -> bytes:
        """Write a time that is likely another one each time: the last 8 s of it, and the rest, which is kept."""
        if time_ms <= _LAST_MS:
            return self._longs[time_ms]
        return _LAST[time_ms & _LAST_MS] + self._longs_behind[time_ms >> _LAST_BITS]

    def _outcomes(self, outcomes: Sequence[tuple[str, str, float, int]]) -> bytes:
        """Write an array as one block, and the empty block that ends it."""
        longs = self._longs
        pieces = [longs[len(outcomes)]]
        for outcome_id, kind, value, occurred_at_ms in outcomes:
            raw_id = outcome_id.encode()
            pieces += (
                longs[len(raw_id)],
                raw_id,
                self._texts[kind],
                _DOUBLE.pack(value),
                self._time(occurred_at_ms),
            )
        pieces.append(_FALSE)
        return b"".join(pieces)


class RewardReader:
    """Reads the records of one batch."""

    def __init__(self) -> None:
        self._names = Interned(read_names)
        self._times: dict[bytes, int] = {}
        self._attribution = text("")
        """The rules' hash as it stood in the last record, with its length."""

    def read(self, raw: bytes) -> RewardFields:
        """Return what a fold asks for of one ledger record.

        Raises:
            DecodeError: as `avro.decode_as`.
        """
        if raw[: avro.HEADER_BYTES] != _HEAD:
            return _read_generally(raw)
        try:
            return self._read(raw)
        except (IndexError, UnicodeDecodeError) as error:
            raise DecodeError("not-decodable", f"not a reward record: {error!r}") from error

    def _read(self, raw: bytes) -> RewardFields:
        # Most lengths and small numbers are of one byte, which is looked at here: a call costs more than the rest.
        at = avro.HEADER_BYTES
        byte, at = (raw[at], at + 1) if raw[at] < 128 else read_long_as_byte(raw, at)
        stop = at + (byte >> 1)
        action_id = raw[at:stop].decode()
        byte, names_at = (raw[stop], stop + 1) if raw[stop] < 128 else read_long_as_byte(raw, stop)
        revision = byte >> 1
        names_at += 1  # is_settled
        at = names_at
        byte, at = (raw[at], at + 1) if raw[at] < 128 else read_long_as_byte(raw, at)
        at += byte >> 1
        while raw[at] > 127:  # generation
            at += 1
        at += 1
        byte, at = (raw[at], at + 1) if raw[at] < 128 else read_long_as_byte(raw, at)
        at += byte >> 1
        byte, at = (raw[at], at + 1) if raw[at] < 128 else read_long_as_byte(raw, at)
        at += byte >> 1
        names = self._names[raw[names_at:at]]
        reward, at = (0, at + 1) if raw[at] == 0 else read_long(raw, at)
        while raw[at] > 127:  # reward_exponent
            at += 1
        at += 1
        byte, at = (raw[at], at + 1) if raw[at] < 128 else read_long_as_byte(raw, at)
        stop = at + (byte >> 1)
        vector = raw[at:stop]
        at = stop
        while raw[at] > 127:  # decided_at_ms
            at += 1
        bucket, at = read_long(raw, at + 1)
        expires_at_ms, at = self._read_time(raw, at)
        event_time_ms, at = self._read_time(raw, at)
        if raw.startswith(self._attribution, at):
            at += len(self._attribution)
        else:
            length, stop = read_long(raw, at)
            self._attribution, at = raw[at : stop + length], stop + length
        at = at + 1 if raw[at] == 0 else _behind_outcomes(raw, at)
        while raw[at] > 127:  # outcomes_before
            at += 1
        length, at = read_long(raw, at + 1)  # decision
        at += length
        tallies, end = ((), at + 3) if raw[at + 2] == 0 else _read_tallies(raw, at + 2)
        undecodable, stop = ("", end + 2) if raw[end + 1] == 0 else _read_text(raw, end + 1)
        if stop != len(raw):
            raise DecodeError("not-decodable", f"{len(raw)} bytes, expected a reward record of {stop}")
        return (
            action_id,
            names,
            bucket,
            revision,
            reward,
            vector,
            expires_at_ms,
            event_time_ms,
            raw[at] != 0,
            raw[at + 1] != 0,
            tallies,
            raw[end] != 0,
            undecodable,
        )

    def _read_time(self, raw: bytes, at: int) -> tuple[int, int]:
        # No shorter varint begins like one of six bytes, so a key can't be mistaken.
        key = raw[at : at + _TIME_BYTES]
        value = self._times.get(key)
        if value is not None:
            return value, at + _TIME_BYTES
        value, end = read_long(raw, at)
        if end - at == _TIME_BYTES:
            self._times[key] = value
        return value, end


def _names(names: Names) -> bytes:
    policy, generation, segment, arm = names
    return text(policy) + long(generation) + text(segment) + text(arm)


def _tallies(tallies: Tallies) -> bytes:
    """Write an array as one block, and the empty block that ends it."""
    pieces = [long(len(tallies))]
    for row, width, column, amount in tallies:
        pieces += (text(row), long(width), long(column), long(amount))
    pieces.append(_FALSE)
    return b"".join(pieces)


def _read_tallies(raw: bytes, at: int) -> tuple[Tallies, int]:
    """Return an array of tallies, and where it ends. A block of a negative count says its size in bytes."""
    tallies: list[tuple[str, int, int, int]] = []
    while True:
        count, at = read_long(raw, at)
        if count == 0:
            return tuple(tallies), at
        if count < 0:
            count, at = -count, behind_long(raw, at)
        for _ in range(count):
            start, at = at, _behind_text(raw, at)
            length, start = read_long(raw, start)
            row = raw[start : start + length].decode()
            width, at = read_long(raw, at)
            column, at = read_long(raw, at)
            amount, at = read_long(raw, at)
            tallies.append((row, width, column, amount))


def _behind_outcomes(raw: bytes, at: int) -> int:
    """Return where an array of credits ends. A block of a negative count says its size in bytes."""
    while True:
        count, at = read_long(raw, at)
        if count == 0:
            return at
        if count < 0:
            at = _behind_text(raw, at)
            continue
        for _ in range(count):
            at = _behind_text(raw, at)  # outcome_id
            at = _behind_text(raw, at)  # kind
            at = behind_long(raw, at + _DOUBLE.size)


def _behind_text(raw: bytes, at: int) -> int:
    length, at = read_long(raw, at)
    if length < 0:  # would lead backwards, and for ever
        raise DecodeError("not-decodable", f"not a reward record: a length of {length}")
    return at + length


def _read_text(raw: bytes, at: int) -> tuple[str, int]:
    end = _behind_text(raw, at)
    length, _ = read_long(raw, at)
    return raw[end - length : end].decode(), end


def read_names(chunk: bytes) -> Names:
    """Read policy, generation, segment and arm as they are written one behind the other."""
    length, at = read_long(chunk, 0)
    policy, at = chunk[at : at + length].decode(), at + length
    generation, at = read_long(chunk, at)
    length, at = read_long(chunk, at)
    segment, at = chunk[at : at + length].decode(), at + length
    length, at = read_long(chunk, at)
    return policy, generation, segment, chunk[at : at + length].decode()


def _read_generally(raw: bytes) -> RewardFields:
    record = avro.decode_as("reward", raw)
    return (
        record["action_id"],
        (record["policy"], record["generation"], record["segment"], record["arm"]),
        record["bucket"],
        record["revision"],
        record["reward"],
        record["context_vector"],
        record["expires_at_ms"],
        record["event_time_ms"],
        record["is_erased"],
        record["is_reward_final"],
        tallies_in(record["tallies"]),
        record["is_analysis"],
        record["undecodable"],
    )


def tallies_in(fields: Iterable[Mapping[str, Any]]) -> Tallies:
    """Return tallies of a decoded record."""
    return tuple((one["row"], one["width"], one["column"], one["amount"]) for one in fields)
