"""How deep a record may be nested. Pure.

What a producer sends is walked, shown and written again, each of which gives up at a depth of its own: where the
interpreter does depends on who called, and some libraries end the process. So what is nested deeper than any record of
ours, by far, is refused where it is read, by one bound, and whoever comes behind can go as deep as the record does.
"""

from __future__ import annotations

from typing import Any

import orjson

from pipeline.errors import DecodeError

MAX_NESTING = 100
"""Of lists and objects in each other; those of our schemas are three."""


def check_nesting(value: object) -> None:
    """Raise DecodeError for what is nested too deep.

    >>> check_nesting({"candidates": {"a": {"price": 1.0}}})
    """
    layer = [value]
    for _ in range(MAX_NESTING + 1):
        inner: list[Any] = []
        for each in layer:
            if isinstance(each, dict):
                inner += each.values()
            elif isinstance(each, list):
                inner += each
        layer = [each for each in inner if isinstance(each, dict | list)]
        if not layer:
            return
    raise DecodeError("not-decodable", f"nested deeper than {MAX_NESTING} lists and objects")


def read_json(raw: bytes) -> Any:
    """Read JSON of a bounded depth.

    Raises:
        DecodeError: no JSON, or nested too deep.
    """
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise DecodeError("not-decodable", f"neither Avro nor JSON (first bytes {raw[:8].hex()}): {error}") from error
    check_nesting(value)
    return value
