r"""What a page may say of a decision, signed by the node that gave the decision out. Pure.

A page's key is known to everybody, so what it tells of an action proves nothing. With each decision that it is given
goes a claim, and an outcome is taken only with it: of this action alone, of the kinds and values that it names,
until it expires.

    claim    base64url of   16 bytes signature | 4 bytes expiry, epoch seconds | policy \n kind=most;kind=most
    signature   BLAKE2b of   key's name \0 action_id \0 all of the above, keyed by a secret that all nodes share

The first secret signs; all of them verify, so that a new one can be put in front and the old one be taken away when the
last claim of it has expired.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from hmac import compare_digest
from typing import NamedTuple

from pipeline.errors import ConfigError

SIGNATURE_BYTES, EXPIRY_BYTES = 16, 4
SECRET_BYTES = (16, 64)
"""BLAKE2b takes a key of up to 64 bytes; 16 are what a guesser can't try out."""
MAX_SECRETS = 8
MAX_CLAIM_CHARACTERS = 2_048


class Claim(NamedTuple):
    """What may be said of one action."""

    policy: str
    kinds: Mapping[str, float]
    """Outcome kinds, each with the largest size of its value; none: all, of any value."""


class ClaimError(Exception):
    """A claim that does not hold; says why."""


class Claims:
    """Signs claims and reads them."""

    def __init__(self, secrets: Sequence[bytes]) -> None:
        self._secrets = tuple(secrets)

    def sign(self, name: str, action_id: str, claim: Claim, expires_at_ms: int) -> str:
        """Return the claim of a key's name to an action."""
        kinds = ";".join(f"{kind}={most!r}" for kind, most in claim.kinds.items())
        expiry = max(0, -(-expires_at_ms // 1000)).to_bytes(EXPIRY_BYTES, "big")
        content = expiry + f"{claim.policy}\n{kinds}".encode()
        signature = _signature(self._secrets[0], name, action_id, content)
        return urlsafe_b64encode(signature + content).rstrip(b"=").decode()

    def read(self, name: str, action_id: str, given: str, now_ms: int) -> Claim:
        """Return what a claim allows.

        Raises:
            ClaimError: it is another action's, another key's, none of ours, or has expired.
        """
        try:
            raw = urlsafe_b64decode(given.encode("ascii") + b"=" * (-len(given) % 4))
        except ValueError as error:
            raise ClaimError("it is no claim") from error
        signature, content = raw[:SIGNATURE_BYTES], raw[SIGNATURE_BYTES:]
        if not any(compare_digest(signature, _signature(each, name, action_id, content)) for each in self._secrets):
            raise ClaimError("it was not given out with this action_id to this key")
        expires_at_ms = int.from_bytes(content[:EXPIRY_BYTES], "big") * 1000
        if now_ms > expires_at_ms:
            raise ClaimError(f"it expired {(now_ms - expires_at_ms) / 1000:.0f} s ago")
        policy, _, kinds = content[EXPIRY_BYTES:].decode().partition("\n")
        listed = (each.rpartition("=") for each in kinds.split(";") if each)
        return Claim(policy, {kind: float(most) for kind, _, most in listed})


def parse_secrets(text: str, where: str) -> tuple[bytes, ...]:
    """Read a file of secrets, one a line, the one that signs first.

    Raises:
        ConfigError: with every fault.
    """
    secrets = [line.strip().encode() for line in text.splitlines() if line.strip()]
    low, high = SECRET_BYTES
    faults = [
        f"line {place}: {len(secret)} bytes, expected {low} to {high} random ones (`openssl rand -hex 24`)"
        for place, secret in enumerate(secrets, 1)
        if not low <= len(secret) <= high
    ]
    if not 0 < len(secrets) <= MAX_SECRETS:
        faults.append(f"holds {len(secrets)} secrets, expected 1 to {MAX_SECRETS}, one a line (`openssl rand -hex 24`)")
    if faults:
        raise ConfigError(where, faults)
    return tuple(secrets)


def _signature(secret: bytes, name: str, action_id: str, content: bytes) -> bytes:
    signed = b"\0".join((name.encode(), action_id.encode(), content))
    return blake2b(signed, digest_size=SIGNATURE_BYTES, key=secret, person=b"claim.1").digest()
