"""A person's id → the hash that is logged: keyed BLAKE2b (RFC 7693), 16 bytes as hexadecimal digits.

The key is a secret of the deployment: without it a list of likely ids can't be hashed and compared.
"""

from __future__ import annotations

from hashlib import blake2b

HASH_BYTES = 16


def hash_subject(subject: str, salt: str) -> str:
    """Hash a person's id; equal ids give equal hashes under one salt."""
    return blake2b(subject.encode(), key=salt.encode(), digest_size=HASH_BYTES).hexdigest()
