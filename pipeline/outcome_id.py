"""What is kept of an outcome's id. Pure.

An id is needed for nothing but to tell a repeat, among the outcomes of one action. One that is opaque by its shape (a
UUID, 32 hexadecimal digits: what nodes give) is kept; any other may name somebody, or an order of theirs, and its hash
is kept in its place. The action is hashed with it, so that equal ids of two actions are not seen to be equal.
"""

from __future__ import annotations

import re
from hashlib import blake2b

OPAQUE = re.compile(r"[0-9a-f]{32}|[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_HASH_BYTES = 16


def kept_id(outcome_id: str, action_id: str) -> str:
    """Return the id, or its hash, which is opaque itself: what is kept of what is kept is the same.

    >>> kept_id("0199a3c5e4b97000800000000000abcd", "x")
    '0199a3c5e4b97000800000000000abcd'
    >>> kept_id("order 4711 of jane@example.org", "x")
    '272f873f4c460064e781d28815d97afe'
    """
    if OPAQUE.fullmatch(outcome_id):
        return outcome_id
    named = f"{action_id}\0{outcome_id}".encode(errors="surrogatepass")
    return blake2b(named, digest_size=_HASH_BYTES, person=b"outcome.1").hexdigest()
