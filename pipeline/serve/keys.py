"""API keys: who may ask for what. Pure; the configuration holds only the keys' SHA-256.

A key is 32 random bytes, so its hash needs no salt and no slow function: there is nothing to guess. It is looked up by
its hash, of which a caller can choose nothing, so the time of an answer tells nothing of which was near.

A key that stands in a page is known to everybody. Its entry says with `claims` which outcomes it may tell at all, and
the node takes those only for decisions that it gave out to such a key (`claims.py`), and dates and names them itself.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from hashlib import sha256
from math import isfinite
from typing import Any, Literal, get_args

from pipeline.errors import ConfigError
from pipeline.events import MAX_ID_CHARACTERS
from pipeline.policy.render_value import shown

Right = Literal["decide", "outcomes", "operate", "read"]
RIGHTS: tuple[Right, ...] = get_args(Right)
PREFIX = "pk_"
KEY_BYTES = 32
MAX_KEYS = 100
AT_ONCE = 2
"""Entries of one name: the old key and the new one, while callers change over."""
MAX_CLAIMS = 8
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_HASH = re.compile(r"[0-9a-f]{64}")
_NEEDED, _OPTIONAL = {"name", "rights"}, {"sha256", "certificate", "policies", "expires", "claims"}


@dataclass(frozen=True, slots=True)
class ApiKey:
    """One entry."""

    name: str
    """Whose it is; the only part that is ever logged."""
    sha256: str
    """Of the key, as hexadecimal digits; empty: it is known by its certificate alone."""
    rights: frozenset[Right]
    """decide: ask and explain; outcomes: report; operate: see health, metrics and policies; read: look at a console,
    and with operate act there."""
    policies: frozenset[str] = frozenset()
    """What it may ask and report of; empty: every policy."""
    expires_at_ms: int | None = None
    """From when it is no key any more; None: never."""
    claims: Mapping[str, float] = field(default_factory=dict)
    """Of a page's key: the outcome kinds that it may tell, each with the largest size of its value; else empty."""
    certificate: str = ""
    """A name in the caller's TLS certificate that stands for the key; empty: none does."""

    @property
    def needs_claims(self) -> bool:
        """Whether its outcomes have to bring the claim that came with their decision."""
        return bool(self.claims or self.policies)

    def may(self, right: Right, policy: str | None) -> bool:
        """Return whether it allows this; a policy of None: whatever is asked for is of no policy."""
        return right in self.rights and (policy is None or not self.policies or policy in self.policies)


def hash_key(key: str) -> str:
    """Return what the configuration holds of a key."""
    return sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


class KeyRing:
    """The keys in force."""

    def __init__(self, keys: Sequence[ApiKey]) -> None:
        self.keys = tuple(keys)
        self._by_hash = {key.sha256: key for key in keys if key.sha256}
        self._by_certificate = {key.certificate: key for key in keys if key.certificate}

    def of_secret(self, presented: str) -> ApiKey | None:
        """Return the key that was presented."""
        return self._by_hash.get(hash_key(presented))

    def of_certificate(self, names: Sequence[str]) -> ApiKey | None:
        """Return the key that one of a certificate's names stands for."""
        found = (self._by_certificate.get(name) for name in names)
        return next((key for key in found if key is not None), None)


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
    for what, values, most in (
        ("name", [key.name for key in keys], AT_ONCE),
        ("sha256", [key.sha256 for key in keys if key.sha256], 1),
        ("certificate", [key.certificate for key in keys if key.certificate], 1),
    ):
        faults += [
            f"{what} {shown(value)} appears {values.count(value)} times, expected at most {most}"
            for value in sorted(set(values))
            if values.count(value) > most
        ]
    if faults:
        raise ConfigError(where, faults)
    return tuple(keys)


def _key(entry: object, where: str, faults: list[str]) -> ApiKey:
    fields: Mapping[str, Any] = entry if isinstance(entry, dict) else {}
    name, digest, rights = fields.get("name"), fields.get("sha256", ""), fields.get("rights")
    certificate, policies = fields.get("certificate", ""), fields.get("policies", [])
    if not _NEEDED <= fields.keys() <= _NEEDED | _OPTIONAL:
        faults.append(
            f"{where}: has the fields {sorted(fields)}, expected {', '.join(sorted(_NEEDED))}, and of "
            f"{', '.join(sorted(_OPTIONAL))} what is needed"
        )
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        faults.append(f"{where}.name: {shown(name)} does not match {_NAME.pattern}")
    if not isinstance(certificate, str) or len(certificate) > MAX_ID_CHARACTERS:
        faults.append(f"{where}.certificate: {shown(certificate)} is no name that a certificate could have")
    if not (digest == "" and certificate) and (not isinstance(digest, str) or not _HASH.fullmatch(digest)):
        # What stands here may be the key itself, by mistake: it is not shown.
        faults.append(f"{where}.sha256: is not 64 hexadecimal digits; `pipeline api-key` prints them")
    if not isinstance(rights, list) or not rights or not all(right in RIGHTS for right in rights):
        faults.append(f"{where}.rights: {shown(rights)} is no list of {', '.join(RIGHTS)}")
        rights = []
    if not isinstance(policies, list) or not all(isinstance(policy, str) and policy for policy in policies):
        faults.append(f"{where}.policies: {shown(policies)} is no list of policies' names")
        policies = []
    claims = _claims(fields.get("claims", {}), f"{where}.claims", faults)
    faults += [
        f"{where}.rights: {right} is not for a page, whose key everybody has"
        for right in ("operate", "read")
        if claims and right in rights
    ]
    return ApiKey(
        str(name),
        str(digest),
        frozenset(rights),
        frozenset(policies),
        _expiry(fields.get("expires"), f"{where}.expires", faults),
        claims,
        str(certificate),
    )


def _claims(given: object, where: str, faults: list[str]) -> dict[str, float]:
    if not isinstance(given, dict) or len(given) > MAX_CLAIMS:
        faults.append(f"{where}: {shown(given)} is no table of at most {MAX_CLAIMS} kinds, such as {{ click = 1.0 }}")
        return {}
    for kind, most in given.items():
        is_number = isinstance(most, int | float) and not isinstance(most, bool)
        if not kind or set(kind) & set("=;\n") or not is_number or not isfinite(most) or most < 0:
            faults.append(f"{where}.{kind}: {shown(most)} is no largest value of an outcome kind, such as 1.0")
            return {}
    return {kind: float(most) for kind, most in given.items()}


def _expiry(given: object, where: str, faults: list[str]) -> int | None:
    if given is None:
        return None
    if isinstance(given, datetime):
        moment = given if given.tzinfo else given.replace(tzinfo=UTC)
    elif isinstance(given, date):
        moment = datetime(given.year, given.month, given.day, tzinfo=UTC)
    else:
        faults.append(f"{where}: {shown(given)} is no date or time, such as 2027-01-31 (from its midnight, UTC)")
        return None
    return round(moment.timestamp() * 1000)
