"""Bytes of an HTTP request → its checked body, or an error that names the place, what was seen and what is expected.

msgspec checks while it decodes; only where it refuses are the bytes read again, to show what stands there.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import Any

import msgspec
import orjson

from pipeline.errors import DecodeError, InvalidRecordError, RecordError
from pipeline.policy.render_value import shown

Reader = Callable[[bytes], Any]
RowReader = Callable[[msgspec.Raw, str], Any]

# How msgspec's messages begin → our word for it; the rest are bounds.
_REASONS = (
    ("Object missing required field", "missing-field"),
    ("Object contains unknown field", "unknown-field"),
)
_GOT = re.compile(r"Expected .*, got ")
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]")


@cache
def reader_of(body: type[msgspec.Struct]) -> Reader:
    """Return what reads a body of this type.

    The reader raises DecodeError where the bytes are no JSON object, InvalidRecordError (missing-field,
    unknown-field, wrong-type, out-of-range) where they are another one.
    """
    decode = msgspec.json.Decoder(body).decode

    def read(raw: bytes) -> Any:
        try:
            return decode(raw)
        except msgspec.ValidationError as error:
            raise _invalid(str(error), raw) from error
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise DecodeError("not-decodable", f"the body is not JSON: {error}") from error

    return read


@cache
def row_reader_of(row: type[msgspec.Struct]) -> RowReader:
    """Return what reads a row that a body was read without; its second argument is where it stands there."""
    decode = msgspec.json.Decoder(row).decode

    def read(raw: msgspec.Raw, place: str) -> Any:
        try:
            return decode(raw)
        except msgspec.ValidationError as error:
            raise _invalid(str(error), bytes(raw), place) from error
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise DecodeError("not-decodable", f"{place} is not JSON: {error}") from error

    return read


def _invalid(message: str, raw: bytes, place: str = "") -> RecordError:
    fault, _, path = message.partition(" - at ")
    path = path.strip("`")
    if _GOT.match(fault) and not path and not place:
        return DecodeError("not-decodable", f"the body is JSON, but: {fault}")
    reason = next((word for start, word in _REASONS if fault.startswith(start)), None)
    where = (place + path.removeprefix("$")).removeprefix(".") or "the body"
    if reason is not None:
        return InvalidRecordError(reason, f"{where}: {fault}")
    reason = "wrong-type" if _GOT.match(fault) else "out-of-range"
    if where.endswith("_at_ms") and ">=" in fault:
        fault += " (epoch milliseconds; this looks like seconds)"
    return InvalidRecordError(reason, f"{where} is {_seen(path, raw)}: {fault}")


def _seen(path: str, raw: bytes) -> str:
    """Show the value at msgspec's path, as far as it can be followed (a key of a map is not told)."""
    try:
        value = orjson.loads(raw)
        for name, place in _STEP.findall(path):
            value = value[name] if name else value[int(place)]
    except (orjson.JSONDecodeError, LookupError, TypeError):
        return "refused"
    return shown(value)
