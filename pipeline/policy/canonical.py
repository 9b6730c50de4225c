"""One text for equal definitions: what is stored, compared and hashed.

UTF-8 JSON, keys sorted, no spaces, defaults written out, numbers as Python's shortest round-trip `repr`,
durations as text (`durations.py`). It has the same keys as the TOML, so `parse.py` reads it back.
"""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Protocol


class Canonical(Protocol):
    """A definition or a part of one."""

    def to_plain(self) -> object:
        """Give the JSON value, with the keys of the TOML file."""


def to_canonical_json(part: Canonical) -> bytes:
    """Write a definition, or a part of one, as canonical JSON."""
    return canonical_bytes(part.to_plain())


def canonical_bytes(plain: object) -> bytes:
    r"""Write a JSON value canonically.

    >>> canonical_bytes({"b": 1.0, "a": ["ä", True]}).decode()
    '{"a":["ä",true],"b":1.0}'
    """
    text = json.dumps(plain, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode()


def sha256_hex(plain: object) -> str:
    """Hash a JSON value by its canonical bytes."""
    return sha256(canonical_bytes(plain)).hexdigest()
