"""Names for actions and outcomes: UUIDs of version 7 (RFC 9562, section 5.7) as 32 hexadecimal digits.

    48 bits epoch milliseconds | 0111 | 12 random bits | 10 | 62 random bits

They sort by time, so that rows of the same minute lie together in JOIN's store.
"""

from __future__ import annotations

from collections.abc import Callable

RANDOM_BYTES = 10
_VARIANT = "89ab"
_BLOCK = 400
"""Ids for which random bytes are fetched at once: the system is asked for a few bytes as long as for a page."""


class TimeOrderedIds:
    """Ids as unpredictable as the bytes that `random_bytes` gives for a count."""

    def __init__(self, random_bytes: Callable[[int], bytes]) -> None:
        self._random_bytes = random_bytes
        self._random = b""
        self._used = 0

    def next(self, now_ms: int) -> str:
        """Make the next id."""
        if self._used >= len(self._random):
            self._random, self._used = self._random_bytes(_BLOCK * RANDOM_BYTES), 0
        start = self._used
        self._used = start + RANDOM_BYTES
        return time_ordered_id(now_ms, self._random[start : self._used])


def time_ordered_id(now_ms: int, random: bytes) -> str:
    """Make an id of a time and `RANDOM_BYTES` random bytes, of which 74 bits are used.

    >>> time_ordered_id(1, bytes(10))
    '00000000000170008000000000000000'
    """
    digits = random.hex()
    return f"{now_ms & (1 << 48) - 1:012x}7{digits[:3]}{_VARIANT[random[1] & 3]}{digits[5:20]}"
