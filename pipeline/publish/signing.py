"""A snapshot's signature: Ed25519 (RFC 8032) over its record, which names its parts by their hashes.

It travels in the record's header `signature`: 8 bytes that name the key (the first of the public key's SHA-256), then
the 64 of the signature. So records, ids and readers without keys stay as they are. Keys are PEM files, as
`openssl genpkey -algorithm ed25519` writes them (ops/decisions/0039-signed-snapshots.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from pipeline.errors import ConfigError, StateError

HEADER = "signature"
NAME_BYTES = 8
_PURPOSE = b"pipeline snapshot\0"
"""So that a signature of something else is none of a snapshot."""
_END = b"-----END PUBLIC KEY-----"

Headers = Sequence[tuple[str, bytes]]


class Signer:
    """The publisher's key."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self._name = _name_of(key.public_key())

    def headers(self, record: bytes) -> Headers:
        """Return what goes with a snapshot's record."""
        return ((HEADER, self._name + self._key.sign(_PURPOSE + record)),)


class Verifier:
    """The publishers' public keys; several are valid at once while they are changed."""

    def __init__(self, keys: Sequence[Ed25519PublicKey]) -> None:
        self._keys: Mapping[bytes, Ed25519PublicKey] = {_name_of(key): key for key in keys}

    def check(self, record: bytes, headers: Headers) -> None:
        """Raise StateError unless a known key has signed this record."""
        signature = dict(headers).get(HEADER, b"")
        if not signature:
            raise StateError("it has no signature, and this node was given its publishers' keys")
        name, rest = signature[:NAME_BYTES], signature[NAME_BYTES:]
        key = self._keys.get(name)
        if key is None:
            known = ", ".join(sorted(each.hex() for each in self._keys))
            raise StateError(f"it is signed by key {name.hex()}, known are {known}")
        try:
            key.verify(rest, _PURPOSE + record)
        except InvalidSignature as error:
            raise StateError(f"its signature by key {name.hex()} is not of these bytes") from error


def read_signer(path: Path) -> Signer:
    """Read a private key. Raises ConfigError."""
    try:
        key = load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(
            "snapshot_signing_key", [f"{path} holds no private key without a password: {error}"]
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError("snapshot_signing_key", [f"{path} holds a {type(key).__name__}, expected one of Ed25519"])
    return Signer(key)


def read_verifier(path: Path) -> Verifier:
    """Read public keys, one PEM block after the other. Raises ConfigError."""
    try:
        blocks = [block + _END for block in path.read_bytes().split(_END)[:-1]]
        keys = [load_pem_public_key(block.lstrip()) for block in blocks]
    except (OSError, ValueError) as error:
        raise ConfigError("snapshot_keys", [f"{path} can't be read as public keys: {error}"]) from error
    of_ed25519 = [key for key in keys if isinstance(key, Ed25519PublicKey)]
    if not keys or len(of_ed25519) < len(keys):
        found = ", ".join(type(key).__name__ for key in keys) or "no key"
        raise ConfigError("snapshot_keys", [f"{path} holds {found}, expected public keys of Ed25519 in PEM"])
    return Verifier(of_ed25519)


def _name_of(key: Ed25519PublicKey) -> bytes:
    return sha256(key.public_bytes_raw()).digest()[:NAME_BYTES]
