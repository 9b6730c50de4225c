"""A person's id → the hash that is logged: keyed BLAKE2b (RFC 7693), 16 bytes as hexadecimal digits.

The key is a secret of the deployment: without it a list of likely ids can't be hashed and compared. It stands in a
file, one salt a line: the first hashes, and those below it are kept so that `pipeline forget` finds whom they hashed.
"""

from __future__ import annotations

from hashlib import blake2b

from pipeline.errors import ConfigError

HASH_BYTES = 16
# BLAKE2b takes a key of up to 64 bytes; 16 are what a guesser can't try out.
SALT_BYTES = (16, 64)
MAX_SALTS = 8


def hash_subject(subject: str, salt: str) -> str:
    """Hash a person's id; equal ids give equal hashes under one salt."""
    return blake2b(subject.encode(), key=salt.encode(), digest_size=HASH_BYTES).hexdigest()


def parse_salts(text: str, where: str) -> tuple[str, ...]:
    """Read a file of salts, one a line, the one that hashes first.

    Raises:
        ConfigError: with every fault.
    """
    salts = [line.strip() for line in text.splitlines() if line.strip()]
    faults = [f"line {place}: {fault}" for place, salt in enumerate(salts, 1) if (fault := salt_fault(salt))]
    if not 0 < len(salts) <= MAX_SALTS:
        faults.append(f"holds {len(salts)} salts, expected 1 to {MAX_SALTS}, one a line (`openssl rand -hex 24`)")
    if faults:
        raise ConfigError(where, faults)
    return tuple(salts)


def salt_fault(salt: str) -> str:
    """Say what is wrong with a salt; nothing if it can be used."""
    low, high = SALT_BYTES
    length = len(salt.encode())
    return "" if low <= length <= high else f"{length} bytes, expected {low} to {high} random ones"
