"""What a connection may cost before anybody knows whose it is. Pure.

In memory at most: `connections` × (a read of 256 KiB, 64 KiB of a body and 64 KiB of answers), and beside that
`requests_in_flight` × `body_bytes` of long bodies and `unread_bytes` of answers that nobody reads. Of batches, a
million probabilities are decided at once (`http/routes.py`), whoever asks.
"""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of the HTTP edge; every one holds without a key."""

    head_bytes: int = 16 << 10
    """Request line and headers together (431)."""
    url_bytes: int = 4 << 10
    """Path and query (414)."""
    body_bytes: int = 1 << 20
    """One request's body (413)."""
    head_within_s: float = 5.0
    """From a connection's start, or a request's first byte, until its head is whole (408)."""
    body_within_s: float = 10.0
    """From there until its body is whole (408)."""
    idle_within_s: float = 5.0
    """How long a connection is kept between two requests."""
    write_within_s: float = 20.0
    """How long a caller may take to read what waits for it, before it is cut off."""
    connections: int = 1_000
    """Connections in all; beyond them the oldest that has shown no key makes room."""
    connections_per_address: int = 256
    """Connections of one address that have shown no key; the oldest makes room."""
    requests_in_flight: int = 256
    """Requests that are read or answered at the same time, beside short decisions, which never wait (503)."""
    unread_bytes: int = 64 << 20
    """Answers in all that wait for slow readers; beyond, who has been slow longest is cut off."""

    def faults(self) -> list[str]:
        """Return what can't be."""
        found = [
            f"{name}: {getattr(self, name)} is not above 0"
            for name in (field.name for field in fields(self))
            if not getattr(self, name) > 0
        ]
        if self.url_bytes > self.head_bytes:
            found.append(f"url_bytes: {self.url_bytes} is more than the whole head may have, {self.head_bytes}")
        if self.connections_per_address > self.connections:
            found.append(
                f"connections_per_address: {self.connections_per_address} is more than connections, {self.connections}"
            )
        return found
