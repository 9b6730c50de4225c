"""The value of a record that its log holds and nobody can read: no bytes, and the reason.

It travels where values do, so whoever reads records meets the reason where the bytes would be.
"""

from __future__ import annotations

from typing import Self

from pipeline.errors import DecodeError

UNREADABLE = "unreadable-batch"
"""The reason of all of them."""


class Unreadable(bytes):
    """Stands for the bytes."""

    error: DecodeError

    def __new__(cls, detail: str) -> Self:
        """Say what is wrong."""
        value = super().__new__(cls)
        value.error = DecodeError(UNREADABLE, detail)
        return value
