"""A ramp that was halted: a key of its own beside the definitions, so that nothing which is applied forgets it."""

from __future__ import annotations

from typing import NamedTuple


class Halt(NamedTuple):
    """Why a policy's ramp goes no further, or that it does again."""

    policy: str
    """The policy that follows another one."""
    cause: str
    """pause: its share stays; back: its share is 0; resume: it goes on, and what came before counts no more."""
    why: str
    """In words, with the figures."""
    halted_at_ms: int
    """By the clock of who wrote it."""

    @property
    def is_halted(self) -> bool:
        """Whether it goes no further."""
        return self.cause != "resume"

    @property
    def key(self) -> bytes:
        """Its own, on `policies`.

        >>> Halt("homepage-v2", "pause", "", 0).key
        b'homepage-v2/ramp'
        """
        return f"{self.policy}/ramp".encode()
