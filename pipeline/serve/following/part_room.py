"""The parts of snapshots that a node holds, within bounds whoever writes them. Pure.

All parts of a policy that is known are held, up to three times what its live snapshot takes and `KNOWN_BYTES` at the
least. Those of policies that nobody has declared wait in a room of `STRANGE_BYTES`, from which the oldest go first.
"""

from __future__ import annotations

from collections import defaultdict

KNOWN_BYTES = 256 << 20
STRANGE_BYTES = 32 << 20
VERSIONS_HELD = 3


class PartRoom:
    """Parts by policy and name."""

    def __init__(self) -> None:
        self.parts: defaultdict[str, dict[str, bytes]] = defaultdict(dict)
        """Of policies that are known."""
        self.passed_over = 0
        """Parts for which there was no room."""
        self.has_displaced = False
        """Whether some were let go, since the topic was read from its start, of a policy that was not known then."""
        self._sizes: defaultdict[str, int] = defaultdict(int)
        self._allowed: dict[str, int] = {}
        self._strange: dict[tuple[str, str], bytes] = {}
        self._strange_bytes = 0

    def keep(self, policy: str, name: str, part: bytes, *, is_known: bool) -> bool:
        """Hold a part; return whether there was room."""
        self.drop(policy, name)
        if not is_known:
            self._strange[policy, name] = part
            self._strange_bytes += len(part)
            while self._strange_bytes > STRANGE_BYTES:
                oldest = next(iter(self._strange))
                self._strange_bytes -= len(self._strange.pop(oldest))
                self.passed_over += 1
                self.has_displaced = True
            return (policy, name) in self._strange
        if self._sizes[policy] + len(part) > self._allowed.get(policy, KNOWN_BYTES):
            self.passed_over += 1
            return False
        self.parts[policy][name] = part
        self._sizes[policy] += len(part)
        return True

    def drop(self, policy: str, name: str) -> None:
        """Let go of a part."""
        self._strange_bytes -= len(self._strange.pop((policy, name), b""))
        if policy in self.parts:
            self._sizes[policy] -= len(self.parts[policy].pop(name, b""))

    def admit(self, policy: str) -> None:
        """Note that a policy is known: what waits of it has room."""
        for of, name in [key for key in self._strange if key[0] == policy]:
            part = self._strange.pop((of, name))
            self._strange_bytes -= len(part)
            self.keep(policy, name, part, is_known=True)

    def note_live(self, policy: str, live_bytes: int) -> None:
        """Note what a policy's live snapshot takes."""
        self._allowed[policy] = max(KNOWN_BYTES, VERSIONS_HELD * live_bytes)

    def clear(self) -> None:
        """Let go of all: the topic is read again."""
        self.parts.clear()
        self._sizes.clear()
        self._strange.clear()
        self._strange_bytes = 0
        self.has_displaced = False
