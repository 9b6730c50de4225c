"""Decision records → bytes: what `avro.encode("decision", ...)` writes, a few times as fast.

A node writes one for every answer, and most of each is as before: names, hashes, the list of arms. Such parts are
encoded once and kept; what is left is a join of bytes. The layout is Avro's binary encoding of `schemas/decision.avsc`,
field after field: a string is its length and its UTF-8, an array its count, its items and a 0, a union its branch and
the value; integers are zigzag varints.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from struct import Struct, pack
from typing import Any

from pipeline.codec.avro import MARKER
from pipeline.codec.schemas import current_schema
from pipeline.errors import StateError
from pipeline.events import Decision

_KEPT_TEXTS = 4_096
_KEPT_LISTS = 512
# Branches of the union of a context's values.
_NUMBER, _TEXT, _TRUTH = b"\x00", b"\x02", b"\x04"
_FALSE, _TRUE = b"\x00", b"\x01"
_END = b"\x00"
_FLOAT = frozenset({float})
_double = Struct("<d").pack


def encode_decision(decision: Decision) -> bytes:
    """Write a decision under the current schema."""
    (
        action_id,
        policy,
        generation,
        segment,
        arm,
        propensity,
        eligible,
        probabilities,
        context,
        context_vector,
        schema_hash,
        decided_at_ms,
        snapshot_version,
        snapshot_id,
        subject_hash,
        reason,
        guardrails,
        candidates,
        is_analysis,
        undecodable,
    ) = decision
    count = len(probabilities)
    return b"".join(
        (
            _head(),
            _text(action_id),
            _kept_text(policy),
            _kept_varint(generation),
            _kept_text(segment),
            _kept_text(arm),
            _double(propensity),
            _texts(tuple(eligible)),
            _varint(count) + pack(f"<{count}d", *probabilities) + _END if count else _END,
            _context(context),
            _varint(len(context_vector)),
            context_vector,
            _kept_text(schema_hash),
            _kept_varint(decided_at_ms),
            _kept_varint(snapshot_version),
            _kept_text(snapshot_id),
            b"\x00" if subject_hash is None else b"\x02" + _text(subject_hash),
            _kept_text(reason),
            _texts(tuple(guardrails)),
            _candidates(candidates) if candidates else _END,
            _TRUE if is_analysis else _FALSE,
            _kept_text(undecodable),
        )
    )


@cache
def _head() -> bytes:
    schema = current_schema("decision")
    parsed: Any = schema.parsed
    names = tuple(field["name"] for field in parsed["fields"])
    if names != Decision._fields:
        raise StateError(f"decision.avsc has the fields {names}: this writer knows {Decision._fields}")
    return MARKER + schema.fingerprint


def _varint(number: int) -> bytes:
    """Encode an int or long.

    >>> [_varint(n).hex() for n in (0, 1, -1, 64, 300)]
    ['00', '02', '01', '8001', 'd804']
    """
    rest = number << 1 if number >= 0 else (-number << 1) - 1
    if rest < 0x80:
        return _BYTES[rest]
    out = bytearray()
    while rest >= 0x80:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)


_BYTES = [bytes((n,)) for n in range(0x80)]
_kept_varint = lru_cache(_KEPT_LISTS)(_varint)


def _text(text: str) -> bytes:
    raw = text.encode()
    return _varint(len(raw)) + raw


_kept_text = lru_cache(_KEPT_TEXTS)(_text)


@lru_cache(_KEPT_LISTS)
def _texts(texts: tuple[str, ...]) -> bytes:
    return _varint(len(texts)) + b"".join(map(_text, texts)) + _END if texts else _END


def _context(context: Mapping[str, Any]) -> bytes:
    if not context:
        return _END
    values = context.values()
    if _FLOAT.issuperset(map(type, values)):
        layout, packed = _numbers(tuple(context))
        packed[1:-1:2] = values
        return layout.pack(*packed)
    parts = [_varint(len(context))]
    for name, value in context.items():
        parts.append(_kept_text(name))
        if isinstance(value, str):
            parts += (_TEXT, _text(value))
        elif isinstance(value, bool):
            parts += (_TRUTH, _TRUE if value else _FALSE)
        else:
            parts += (_NUMBER, _double(value))
    return b"".join((*parts, _END))


def _candidates(candidates: Mapping[str, Mapping[str, float]]) -> bytes:
    parts = [_varint(len(candidates))]
    told_before: tuple[str, ...] = ()
    for arm, features in candidates.items():
        parts.append(_text(arm))
        told = tuple(features)
        if not told:
            parts.append(_END)
            continue
        if told != told_before:  # those of one policy are told by the same names
            layout, fixed = _layout(told, b"")
            packed, told_before = list(fixed), told
        packed[1:-1:2] = features.values()
        parts.append(layout.pack(*packed))
    return b"".join((*parts, _END))


def _numbers(names: tuple[str, ...]) -> tuple[Struct, list[Any]]:
    """Return a layout of a map of numbers, and what it packs: before each number its name and branch, then the end."""
    layout, packed = _layout(names, _NUMBER)
    return layout, list(packed)


@lru_cache(_KEPT_LISTS)
def _layout(names: Sequence[str], branch: bytes) -> tuple[Struct, tuple[Any, ...]]:
    prefixes = [_text(name) + branch for name in names]
    prefixes[0] = _varint(len(names)) + prefixes[0]
    packed: list[Any] = []
    for prefix in prefixes:
        packed += (prefix, 0.0)
    return Struct("<" + "".join(f"{len(prefix)}sd" for prefix in prefixes) + "1s"), (*packed, _END)
