"""Avro decisions that are as they should be, read by hand: a fraction of the library's time.

As in `codec/quick.py`, what is not accepted here goes the careful way. What is accepted: the current schema, arrays and
the map in one block. The library spends most of its time on the context, a map whose every value is one of several
types; but all decisions of a policy have the same features in the same order, so what stands around the numbers is the
same bytes as in the decision before, and all numbers are unpacked at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from struct import Struct, error
from typing import Any, NamedTuple

from pipeline.codec import avro
from pipeline.codec.interned import Interned
from pipeline.codec.schemas import current_schema
from pipeline.codec.varints import read_long, read_long_as_byte
from pipeline.errors import InvalidRecordError
from pipeline.events import (
    MAX_ID_CHARACTERS,
    MAX_TIME_MS,
    REASONS,
    UNDECODABLE_REASONS,
    Decision,
    check_probabilities,
)

LAYOUT = bytes.fromhex("2416c961d962dbb4")
"""Fingerprint of the decision's schema that this file knows."""
_HEAD = avro.MARKER + LAYOUT
_DOUBLE = Struct("<d")
_DOUBLE_TYPE = b"\0"
"""Number of the type in the union of a context's values."""


class _Refused(Exception):  # noqa: N818  nothing is wrong: the careful way may accept it
    """Only the careful way can tell."""


class _Context(NamedTuple):
    """How a context of numbers lies in the bytes."""

    names: tuple[str, ...]
    between: tuple[bytes, ...]
    """What stands before each number: its name with its length, and the number of its type."""
    numbers: Struct
    """All of that and the numbers."""


class _Rest(NamedTuple):
    """What ends a decision: the same in most of a batch."""

    snapshot_version: int
    snapshot_id: str
    subject_hash: str | None
    reason: str
    guardrails: tuple[str, ...]
    candidates: Mapping[str, Mapping[str, float]]
    is_analysis: bool
    undecodable: str


class DecisionReader:
    """Reads decisions of one batch; keeps pieces that many of them share, and how the last context lay in the bytes."""

    def __init__(self) -> None:
        self._is_known = current_schema("decision").fingerprint == LAYOUT
        self._names = Interned(_names_in)
        self._rests = Interned(_rest_in)
        self._context = _Context((), (), Struct(""))

    def read(self, raw: bytes) -> Decision | None:
        """Return a decision, None where only the careful way can tell."""
        if not self._is_known or raw[: avro.HEADER_BYTES] != _HEAD:
            return None
        try:
            return self._read(raw)
        except (_Refused, IndexError, UnicodeDecodeError, error, InvalidRecordError):
            return None

    def _read(self, raw: bytes) -> Decision:
        # Lengths of one byte, which most are, are looked at here: a call costs more than the rest.
        at = avro.HEADER_BYTES
        byte = raw[at]
        if not 0 < byte < 128 or byte & 1:
            action_id, names_at = _read_id(raw, at)
        else:
            names_at = at + 1 + (byte >> 1)
            action_id = raw[at + 1 : names_at].decode()
        at = names_at
        byte, at = (raw[at], at + 1) if raw[at] < 128 else read_long_as_byte(raw, at)
        at += byte >> 1  # policy
        while raw[at] > 127:  # generation
            at += 1
        at += 1
        byte, at = (raw[at], at + 1) if raw[at] < 128 else read_long_as_byte(raw, at)
        at += byte >> 1  # segment
        byte, at = (raw[at], at + 1) if raw[at] < 128 else read_long_as_byte(raw, at)
        at += byte >> 1  # arm
        policy, generation, segment, arm = self._names[raw[names_at:at]]
        (propensity,) = _DOUBLE.unpack_from(raw, at)
        at += 8
        eligible, at = ([], at + 1) if raw[at] == 0 else _read_texts(raw, at)
        probabilities, at = ([], at + 1) if raw[at] == 0 else _read_doubles(raw, at)
        context, at = self._read_context(raw, at)
        length, at = (0, at + 1) if raw[at] == 0 else _read_length(raw, at)
        vector, at = raw[at : at + length], at + length
        schema_hash, at = ("", at + 1) if raw[at] == 0 else _read_text(raw, at)
        decided_at_ms, at = read_long(raw, at)
        rest = self._rests[raw[at:]]
        if not (0.0 < propensity <= 1.0 and 0 <= decided_at_ms <= MAX_TIME_MS and length % 2 == 0):
            raise _Refused
        if probabilities:
            check_probabilities(eligible, probabilities, arm, propensity)
        return Decision(
            action_id,
            policy,
            generation,
            segment,
            arm,
            propensity,
            eligible,
            probabilities,
            context,
            vector,
            schema_hash,
            decided_at_ms,
            rest.snapshot_version,
            rest.snapshot_id,
            rest.subject_hash,
            rest.reason,
            rest.guardrails,
            rest.candidates,
            rest.is_analysis,
            rest.undecodable,
        )

    def _read_context(self, raw: bytes, at: int) -> tuple[dict[str, Any], int]:
        count, at = read_long(raw, at)
        if count == 0:
            return {}, at
        if count < 0:
            raise _Refused
        known = self._context
        if count != len(known.names) or not raw.startswith(known.between[0], at):
            known = self._context = _context_at(raw, at, count)
        pieces = known.numbers.unpack_from(raw, at)
        if pieces[::2] != known.between:
            known = self._context = _context_at(raw, at, count)
            pieces = known.numbers.unpack_from(raw, at)
        at += known.numbers.size
        if raw[at] != 0:  # another block
            raise _Refused
        return dict(zip(known.names, pieces[1::2], strict=True)), at + 1


def _names_in(raw: bytes) -> tuple[str, int, str, str]:
    policy, at = _read_id(raw, 0)
    generation, at = read_long(raw, at)
    segment, at = _read_id(raw, at)
    arm, at = _read_id(raw, at)
    if at != len(raw) or not 0 <= generation < 2**63:
        raise _Refused
    return policy, generation, segment, arm


def _rest_in(raw: bytes) -> _Rest:
    snapshot_version, at = read_long(raw, 0)
    snapshot_id, at = _read_text(raw, at)
    has_subject, at = read_long(raw, at)
    subject_hash, at = _read_text(raw, at) if has_subject == 1 else (None, at)
    reason, at = _read_text(raw, at)
    guardrails, at = _read_texts(raw, at)
    candidates, at = _read_candidates(raw, at)
    is_analysis, at = raw[at], at + 1
    undecodable, at = _read_text(raw, at)
    is_whole = at == len(raw) and is_analysis in (0, 1) and has_subject in (0, 1)
    is_whole = is_whole and (not undecodable or undecodable in UNDECODABLE_REASONS)
    if not (is_whole and 0 <= snapshot_version < 2**63 and reason in REASONS):
        raise _Refused
    acted = tuple(guardrails)
    return _Rest(snapshot_version, snapshot_id, subject_hash, reason, acted, candidates, is_analysis == 1, undecodable)


def _context_at(raw: bytes, at: int, count: int) -> _Context:
    """Find how a block of `count` numbers lies in the bytes."""
    names, between = [], []
    for _ in range(count):
        start = at
        name, at = _read_text(raw, at)
        if raw[at : at + 1] != _DOUBLE_TYPE:
            raise _Refused
        names.append(name)
        between.append(raw[start : at + 1])
        at += 1 + _DOUBLE.size
    return _Context(tuple(names), tuple(between), Struct("<" + "".join(f"{len(piece)}sd" for piece in between)))


def _read_length(raw: bytes, at: int) -> tuple[int, int]:
    length, at = read_long(raw, at)
    if not 0 <= length <= len(raw) - at:
        raise _Refused
    return length, at


def _read_text(raw: bytes, at: int) -> tuple[str, int]:
    length, at = _read_length(raw, at)
    return raw[at : at + length].decode(), at + length


def _read_id(raw: bytes, at: int) -> tuple[str, int]:
    value, at = _read_text(raw, at)
    if not 0 < len(value) <= MAX_ID_CHARACTERS:
        raise _Refused
    return value, at


def _read_texts(raw: bytes, at: int) -> tuple[list[str], int]:
    count, at = read_long(raw, at)
    if count == 0:
        return [], at
    if count < 0:
        raise _Refused
    values = []
    for _ in range(count):
        value, at = _read_text(raw, at)
        values.append(value)
    return values, _behind_last_block(raw, at)


def _read_doubles(raw: bytes, at: int) -> tuple[list[float], int]:
    count, at = read_long(raw, at)
    if count == 0:
        return [], at
    if not 0 < count <= len(raw):
        raise _Refused
    values = list(Struct(f"<{count}d").unpack_from(raw, at))
    if not all(map(isfinite, values)):
        raise _Refused
    return values, _behind_last_block(raw, at + 8 * count)


def _read_candidates(raw: bytes, at: int) -> tuple[dict[str, dict[str, float]], int]:
    count, at = read_long(raw, at)
    candidates: dict[str, dict[str, float]] = {}
    if count == 0:
        return candidates, at
    if count < 0:
        raise _Refused
    for _ in range(count):
        arm, at = _read_text(raw, at)
        candidates[arm], at = _read_features(raw, at)
    return candidates, _behind_last_block(raw, at)


def _read_features(raw: bytes, at: int) -> tuple[dict[str, float], int]:
    count, at = read_long(raw, at)
    features: dict[str, float] = {}
    if count == 0:
        return features, at
    if count < 0:
        raise _Refused
    for _ in range(count):
        name, at = _read_text(raw, at)
        (value,) = _DOUBLE.unpack_from(raw, at)
        if not isfinite(value):
            raise _Refused
        features[name], at = value, at + _DOUBLE.size
    return features, _behind_last_block(raw, at)


def _behind_last_block(raw: bytes, at: int) -> int:
    if raw[at] != 0:
        raise _Refused
    return at + 1
