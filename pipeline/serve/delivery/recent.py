"""What was decided lately, and the snapshots that decided it, so that a decision can be explained: bounded memory."""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from pipeline.serve.following.snapshot import LoadedSnapshot
from pipeline.serve.messages.decided import Fallback

# What an entry takes beside its record: the id, the tuple, its place in the dictionary.
ENTRY_BYTES = 400


class RecentDecision(NamedTuple):
    """A decision as it was logged, and what the log does not say."""

    record: bytes
    """The `decision` record: bytes, so that ten thousands of them cost the garbage collector nothing."""
    fallback: Fallback | None
    detail: str
    asked: str = ""
    """The policy that was asked: another one may have decided for it."""
    ignored: int = 0


class RecentDecisions:
    """The latest decisions by action_id."""

    def __init__(self, capacity_bytes: int) -> None:
        self._capacity_bytes = capacity_bytes
        self._kept: OrderedDict[str, RecentDecision] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, action_id: str, decision: RecentDecision) -> None:
        """Keep a decision; the oldest ones go while there is too much."""
        before = self._kept.pop(action_id, None)
        self._bytes += _size(decision) - (0 if before is None else _size(before))
        self._kept[action_id] = decision
        while self._bytes > self._capacity_bytes and self._kept:
            _, gone = self._kept.popitem(last=False)
            self._bytes -= _size(gone)

    def get(self, action_id: str) -> RecentDecision | None:
        """Return a decision if it is still held."""
        return self._kept.get(action_id)


class RecentSnapshots:
    """The latest snapshots by (policy, version), up to a number of bytes of posterior."""

    def __init__(self, capacity_bytes: int) -> None:
        self._capacity_bytes = capacity_bytes
        self._kept: OrderedDict[tuple[str, int], tuple[LoadedSnapshot, int]] = OrderedDict()
        self._bytes = 0

    def keep(self, snapshot: LoadedSnapshot) -> None:
        """Keep a snapshot; the oldest ones go while there is too much, but never this one."""
        key = (snapshot.policy, snapshot.version)
        if key in self._kept:
            return
        size = _posterior_bytes(snapshot)
        self._kept[key] = (snapshot, size)
        self._bytes += size
        while self._bytes > self._capacity_bytes and len(self._kept) > 1:
            _, (_, gone) = self._kept.popitem(last=False)
            self._bytes -= gone

    def get(self, policy: str, version: int) -> LoadedSnapshot | None:
        """Return a snapshot if it is still held."""
        kept = self._kept.get((policy, version))
        return None if kept is None else kept[0]


def _size(decision: RecentDecision) -> int:
    return len(decision.record) + len(decision.detail) + ENTRY_BYTES


def _posterior_bytes(snapshot: LoadedSnapshot) -> int:
    return sum(
        array.nbytes for segment in snapshot.segments.values() for array in segment.posterior.parameters.values()
    )
