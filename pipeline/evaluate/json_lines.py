"""A file of JSON lines → its objects, each with the number of its line. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from pipeline.errors import ConfigError
from pipeline.policy.render_value import shown

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def is_json_lines(raw: bytes) -> bool:
    """Whether a file is of JSON lines, and no table."""
    return raw.removeprefix(BYTE_ORDER_MARK).lstrip().startswith(b"{")


def read_json_lines(raw: bytes, source: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Give each line's number, from 1, and object; empty lines have none.

    Raises:
        ConfigError: a line is no JSON object.
    """
    for number, line in enumerate(raw.removeprefix(BYTE_ORDER_MARK).splitlines(), 1):
        if not line.strip():
            continue
        try:
            found = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise ConfigError(source, [f"line {number} is not JSON: {error}"]) from error
        if not isinstance(found, dict):
            raise ConfigError(source, [f"line {number} is {shown(found)}, expected an object"])
        yield number, found
