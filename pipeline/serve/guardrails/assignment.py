"""Who belongs to a share of subjects: stable, the same on every node, unrelated between purposes. Pure.

u = BLAKE2b(subject hash; key of purpose, policy and salt) / 2^64, and a subject belongs to a share s while u < s. So
a share that grows keeps whom it has, and a subject's u for one purpose says nothing of its u for another. The subject
hash is itself keyed by the deployment's secret, so nobody outside can tell, or choose, who is held out.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b

_KEYS = 1_024


def is_within(share: float, subject: str, purpose: str, policy: str, salt: str) -> bool:
    """Whether a subject belongs to the share of a purpose ("holdout", "analysis", "rollout")."""
    return position(subject, purpose, policy, salt) < share


def position(subject: str, purpose: str, policy: str, salt: str) -> float:
    """Return the subject's u in [0, 1), in steps of 2^-53.

    >>> position("ada", "holdout", "homepage", "") == position("ada", "holdout", "homepage", "")
    True
    """
    digest = blake2b(subject.encode(), key=_key(purpose, policy, salt), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / 2**53


@lru_cache(_KEYS)
def _key(purpose: str, policy: str, salt: str) -> bytes:
    return blake2b(f"{purpose}\0{policy}\0{salt}".encode(), digest_size=32).digest()
