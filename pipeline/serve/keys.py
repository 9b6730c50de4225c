"""API keys: who may ask for what. Pure; the configuration holds only the keys' SHA-256.

A key is 32 random bytes, so its hash needs no salt and no slow function: there is nothing to guess. It is compared with
every configured hash, each in constant time, so that the time of an answer tells nothing of which was near.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from hmac import compare_digest
from typing import Any, Literal, get_args

from pipeline.errors import ConfigError
from pipeline.policy.render_value import shown

Right = Literal["decide", "outcomes", "operate"]
RIGHTS: tuple[Right, ...] = get_args(Right)
PREFIX = "pk_"
KEY_BYTES = 32
MAX_KEYS = 100
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class ApiKey:
    """One key."""

    name: str
    """Whose it is; the only part that is ever logged."""
    sha256: str
    """Of the key, as hexadecimal digits."""
    rights: frozenset[Right]
    """decide: ask and explain; outcomes: report; operate: see health, metrics and policies."""


def hash_key(key: str) -> str:
    """Return what the configuration holds of a key."""
    return sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def find_key(keys: Sequence[ApiKey], presented: str) -> ApiKey | None:
    """Return the key that was presented; the time taken depends on the number of keys only."""
    seen = hash_key(presented)
    found = None
    for key in keys:
        if compare_digest(key.sha256, seen):
            found = key
    return found


def parse_keys(text: str, where: str) -> tuple[ApiKey, ...]:
    """Read a file of keys.

    Raises:
        ConfigError: with every fault.
    """
    try:
        entries = tomllib.loads(text).get("keys")
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(where, [f"is not TOML: {error}"]) from error
    if not isinstance(entries, list) or not 0 < len(entries) <= MAX_KEYS:
        raise ConfigError(where, [f"holds no list of 1 to {MAX_KEYS} [[keys]]: make one with `pipeline api-key`"])
    faults: list[str] = []
    keys = [_key(entry, f"keys[{place}]", faults) for place, entry in enumerate(entries)]
    for what, values in (("name", [key.name for key in keys]), ("sha256", [key.sha256 for key in keys])):
        faults += [f"{what} {shown(value)} appears twice" for value in sorted(set(values)) if values.count(value) > 1]
    if faults:
        raise ConfigError(where, faults)
    return tuple(keys)


def _key(entry: object, where: str, faults: list[str]) -> ApiKey:
    fields: Mapping[str, Any] = entry if isinstance(entry, dict) else {}
    name, digest, rights = fields.get("name"), fields.get("sha256"), fields.get("rights")
    if fields.keys() != {"name", "sha256", "rights"}:
        faults.append(f"{where}: has the fields {sorted(fields)}, expected name, sha256, rights")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        faults.append(f"{where}.name: {shown(name)} does not match {_NAME.pattern}")
    if not isinstance(digest, str) or not _HASH.fullmatch(digest):
        # What stands here may be the key itself, by mistake: it is not shown.
        faults.append(f"{where}.sha256: is not 64 hexadecimal digits; `pipeline api-key` prints them")
    if not isinstance(rights, list) or not rights or not all(right in RIGHTS for right in rights):
        faults.append(f"{where}.rights: {shown(rights)} is no list of {', '.join(RIGHTS)}")
        rights = []
    return ApiKey(str(name), str(digest), frozenset(rights))
