"""The topic `checkpoints`: which checkpoints it holds of a partition, and what they say.

list/…  part/…  part/…  head/…  part/…  list/…  head/…      each is named by its content, behind all that it names
"""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field

from pipeline.checkpoint.head import HEAD, LIST, PART, Head, head_from, key_of
from pipeline.checkpoint.parts import Part, names_in, part_of
from pipeline.codec import avro
from pipeline.errors import DecodeError, StateError
from pipeline.stream.log.follow import Entry, TopicFollower
from pipeline.stream.log.outbox import Record
from pipeline.stream.log.topics import CHECKPOINTS
from pipeline.stream.security import Address

DEFLATE_LEVEL = 1
"""A quarter of the bytes at the price of their hash."""
DO_WITHOUT = "A proof does without it: pipeline verify --from-start"
MOST_CONTENT_BYTES = 64 << 20
"""Inflated: a million names of parts, which have a mebibyte each at the most."""


@dataclass(slots=True)
class Held:
    """What the topic holds of one partition."""

    heads: dict[bytes, Head] = field(default_factory=dict)
    """By key, in the order in which they were written."""
    written_at_ms: int = 0
    """When the last of them was, by its record."""
    lists: dict[str, list[str]] = field(default_factory=dict)
    """The names of parts, by the name of the list of them."""
    parts: set[str] = field(default_factory=set)
    """Names."""

    def is_whole(self, head: Head) -> bool:
        """Whether all that a head names is there."""
        names = self.lists.get(head.state)
        return names is not None and self.parts.issuperset(names)

    def take(self, key: bytes | None, value: bytes | None, timestamp_ms: int) -> None:
        """Take in the next record; what is none of a checkpoint's is passed over."""
        kind, slash, name = (key or b"").decode(errors="replace").partition("/")
        try:
            if kind + slash == HEAD and key is not None:
                self.heads.pop(key, None)
                if value is not None and (head := head_from(value)).key == key:
                    self.heads[key] = head
                    self.written_at_ms = timestamp_ms
            elif kind + slash == LIST:
                self.lists.pop(name, None)
                if value is not None:
                    self.lists[name] = names_in(content_of(name, value))
            elif kind + slash == PART:
                self.parts.discard(name)
                if value is not None:
                    self.parts.add(name)
        except StateError:
            return


async def read_held(broker: Address, number: int | None = None) -> dict[int, Held]:
    """Return what the topic holds, of one partition or of all.

    Raises:
        UnavailableError: no broker answers, or there is no such topic.
    """
    held: dict[int, Held] = {}
    async for record in _records(broker, number):
        held.setdefault(record.partition, Held()).take(record.key, record.value, record.timestamp)
    return held


async def load(broker: Address, wanted: Mapping[int, Iterable[str]], take: Callable[[int, bytes], None]) -> None:
    """Hand over the content of parts, by partition, in whatever order they stand.

    Raises:
        StateError: one of them is not there, or is not what its name says. UnavailableError: no broker answers.
    """
    missing = {number: set(names) for number, names in wanted.items()}
    only = next(iter(missing)) if len(missing) == 1 else None
    if not any(missing.values()):
        return
    async for record in _records(broker, only):
        kind, slash, name = (record.key or b"").decode(errors="replace").partition("/")
        if kind + slash == PART and record.value is not None and name in missing.get(record.partition, ()):
            take(record.partition, content_of(name, record.value))
            missing[record.partition].discard(name)
    if lost := [f"{number}: {name}" for number, names in missing.items() for name in sorted(names)]:
        told = f"{CHECKPOINTS} holds {len(lost)} parts no more that a checkpoint names, the first {lost[0]}"
        raise StateError(f"{told}. {DO_WITHOUT}")


def content_of(name: str, value: bytes) -> bytes:
    """Return the lines of a part.

    Raises:
        StateError: it is none, or not the one that its name says.
    """
    try:
        inflating = zlib.decompressobj()
        content = inflating.decompress(avro.decode_as("checkpoint_part", value)["lines"], MOST_CONTENT_BYTES)
    except (DecodeError, zlib.error) as error:
        raise StateError(f"part {name} of a checkpoint can't be read: {error}. {DO_WITHOUT}") from error
    if not inflating.eof:
        told = f"part {name} of a checkpoint is cut off, or has more than {MOST_CONTENT_BYTES} bytes"
        raise StateError(f"{told}. {DO_WITHOUT}")
    if part_of(content).name != name:
        found = part_of(content).name
        raise StateError(f"part {name} of a checkpoint has the content of {found}: it was changed. {DO_WITHOUT}")
    return content


def record_of(number: int, kind: str, part: Part) -> Record:
    """Return the record of a part."""
    value = avro.encode("checkpoint_part", {"lines": zlib.compress(part.content, DEFLATE_LEVEL)})
    return Record(CHECKPOINTS, number, key_of(kind, part.name), value)


async def _records(broker: Address, number: int | None) -> AsyncIterator[Entry]:
    def only(count: int) -> int:
        if number is None or number >= count:
            raise StateError(f"{CHECKPOINTS} has {count} partitions, expected those of the ledger: make it anew")
        return number

    follower = TopicFollower(broker, CHECKPOINTS, only=None if number is None else only)
    try:
        await follower.start()
        async for records in follower.batches_to_end():
            for record in records:
                yield record
    finally:
        await follower.stop()
