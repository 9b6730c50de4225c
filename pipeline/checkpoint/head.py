"""What names a checkpoint: a record of some hundred bytes, which names the one before. Pure.

    head 1 ◀── head 2 ◀── head 3          each is named by the SHA-256 of its bytes
      │          │          │
    state      state      state           named by its content, in parts that most of them have in common

All of it is a function of the ledger below `offset` and of the head before: no clock.
"""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterable
from typing import NamedTuple

from pipeline.codec import avro
from pipeline.errors import DecodeError, StateError

HEAD, LIST, PART = "head/", "list/", "part/"
"""What the keys of the topic begin with: of heads, of the parts that name a head's parts, and of these."""


class Head(NamedTuple):
    """A checkpoint of one partition of the ledger; see `schemas/checkpoint.avsc`."""

    topic_id: str
    """Of the ledger; empty: the broker tells none."""
    partition: int
    offset: int
    """The first ledger offset that is not in."""
    event_time_ms: int
    """The highest that is in; -1: none."""
    previous: str
    """Id of the head before; empty: it is the first."""
    state: str
    """Name of the part that names its parts."""
    parts: int
    """How many they are."""

    def to_bytes(self) -> bytes:
        """Write the record."""
        return avro.encode("checkpoint", self._asdict())

    @property
    def id(self) -> str:
        """What it is named by."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    @property
    def key(self) -> bytes:
        """Where it stands in the topic: no other can take its place."""
        return f"{HEAD}{self.id}".encode()


def head_from(raw: bytes) -> Head:
    """Read a record.

    Raises:
        StateError: it is none.
    """
    try:
        return Head(**avro.decode_as("checkpoint", raw))
    except DecodeError as error:
        raise StateError(f"bytes {raw[:12].hex()} are no checkpoint: {error.detail}") from error


def key_of(kind: str, name: str) -> bytes:
    """Return where a part stands in the topic.

    >>> key_of(LIST, "e3b0")
    b'list/e3b0'
    """
    return f"{kind}{name}".encode()


def chain_fault(heads: Iterable[Head]) -> str:
    """Return what is wrong with a partition's heads, the oldest first, in words; empty: each stands on one before it.

    A worker that was taken for dead may have written one beside its successor's: both name the same before them.
    """
    known: dict[str, Head] = {}
    for head in heads:
        before = known.get(head.previous)
        where = f"checkpoint {head.id[:12]} of partition {head.partition} at offset {head.offset}"
        if head.previous and before is None:
            return f"{where} names {head.previous[:12]} before it, which is missing or is another now"
        if not head.previous and any(one.previous for one in known.values()):
            return f"{where} names none before it, and is not the first"
        if before is not None and before.offset > head.offset and before.topic_id == head.topic_id:
            return f"{where} names one before it that lies behind, at offset {before.offset}"
        known[head.id] = head
    return ""


def of_log(heads: Iterable[Head], topic_id: str, partition: int) -> list[Head]:
    """Return those of a partition of this very log; of one that nothing tells from another (no id), none."""
    return [one for one in heads if topic_id and (one.topic_id, one.partition) == (topic_id, partition)]


def newest_below(heads: Iterable[Head], offset: int, among: Container[str]) -> Head | None:
    """Return the head of the highest offset at or below one, of those whose ids are given."""
    fits = [one for one in heads if one.offset <= offset and one.id in among]
    return max(fits, key=lambda one: one.offset, default=None)
