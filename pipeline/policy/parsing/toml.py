"""A definition's plain value as the TOML of a policy file; `load_policy` reads it back to an equal definition."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def to_toml(plain: Mapping[str, object]) -> str:
    r"""Write a table of numbers, words, flags, arrays and tables.

    >>> print(to_toml({"name": "x", "arms": [{"name": "a", "prior": {"mean": 0.5}}]}), end="")
    name = "x"
    <BLANKLINE>
    [[arms]]
    name = "a"
    prior = { mean = 0.5 }
    """
    return "\n".join(_root(plain)).lstrip("\n") + "\n"


def _root(table: Mapping[str, object]) -> Iterator[str]:
    """Yield lines: plain keys first, as what follows a heading belongs to that heading."""
    headed = {key: value for key, value in table.items() if _has_heading(value)}
    yield from _keys({key: value for key, value in table.items() if key not in headed})
    for key, value in headed.items():
        if isinstance(value, Mapping):
            yield ""
            yield f"[{_key(key)}]"
            yield from _keys(value)
        elif isinstance(value, list):
            for one in value:
                yield ""
                yield f"[[{_key(key)}]]"
                yield from _keys(one)


def _keys(table: Mapping[str, object]) -> Iterator[str]:
    for key, value in table.items():
        yield f"{_key(key)} = {_inline(value)}"


def _has_heading(value: object) -> bool:
    is_tables = isinstance(value, list) and bool(value) and all(isinstance(one, Mapping) for one in value)
    return isinstance(value, Mapping) or is_tables


def _inline(value: object) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(key)} = {_inline(one)}" for key, one in value.items()) + " }" if value else "{}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_inline, value)) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    # A JSON string is a TOML string, but for DEL, which only TOML forbids.
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else _inline(key)
