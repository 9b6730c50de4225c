"""Stand-ins for the table and the broker: dictionaries and lists, no service, no clock."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from pipeline.errors import StateError
from pipeline.join.row import ActionRow
from pipeline.join.step import Changes
from pipeline.join.stored_row import due_of, row_from_bytes, row_to_bytes
from pipeline.policy.book import PolicyBook
from pipeline.policy.definition import PolicyDefinition
from pipeline.stream.log.outbox import BUILDER_BYTES, Headers, Outgoing, Place, Record, by_partition
from pipeline.stream.state.durable import DurablePartition
from pipeline.stream.state.tables import INDEX, ROW, due_key


class MemoryActions:
    """JOIN's rows as bytes, with the index of due rows.

    The index keeps an entry for every due time that a row ever had, as one restored from a changelog does, until
    it is removed by name.
    """

    def __init__(self) -> None:
        self.stored: dict[str, bytes] = {}
        self.index: set[tuple[int, str]] = set()

    def load(self, action_ids: Sequence[str]) -> dict[str, ActionRow]:
        return {key: row_from_bytes(self.stored[key], key) for key in action_ids if key in self.stored}

    def due(self, until_ms: int, limit: int) -> list[tuple[int, str]]:
        return sorted(entry for entry in self.index if entry[0] <= until_ms)[:limit]

    def apply(self, changes: Changes) -> None:
        self.index -= set(changes.gone_due)
        for action_id, row in changes.rows.items():
            if row is None:
                self.stored.pop(action_id, None)
            else:
                self.stored[action_id] = row_to_bytes(row)
                self.index.add((due_of(self.stored[action_id]), action_id))

    def rows(self) -> list[ActionRow]:
        return [row_from_bytes(stored, key) for key, stored in self.stored.items()]


class Crashed(Exception):  # noqa: N818  it is what happened
    """The process ended here, as kill -9 ends it."""


class MemoryBroker:
    """Topics as lists of records; what `Outbox` delivers to. `before` and `after` each delivery may crash."""

    def __init__(self, partitions: int = 4) -> None:
        self.partitions = partitions
        self.headers: list[Headers] = []
        self.logs: defaultdict[tuple[str, int], list[SimpleNamespace]] = defaultdict(list)
        self.interrupt: Callable[[str], None] = lambda _: None
        self.now_ms: Callable[[], int] = lambda: 0
        self.stamps = 1
        """1 as of topics that the broker stamps (LogAppendTime), 0 as of those whose producers do (CreateTime)."""

        self.stuck: set[Place] = set()
        """What takes nothing of `send_each` for now."""
        self.waiting: list[tuple[Place, Sequence[tuple[bytes, bytes | None]], asyncio.Future[None]]] = []

    def append(
        self, topic: str, partition: int, key: bytes | None, value: bytes | None, timestamp_ms: int | None = None
    ) -> int:
        log = self.logs[topic, partition]
        stamp = self.now_ms() if timestamp_ms is None else timestamp_ms
        log.append(SimpleNamespace(offset=len(log), timestamp=stamp, timestamp_type=self.stamps, key=key, value=value))
        return len(log) - 1

    def values(self, topic: str) -> list[bytes]:
        """All values of a topic, partition by partition."""
        return [record.value for (name, _), log in sorted(self.logs.items()) if name == topic for record in log]

    async def partition_count(self, topic: str) -> int:  # noqa: ARG002
        return self.partitions

    async def stop(self) -> None:
        """There is nothing to disconnect."""

    async def deliver(self, records: Iterable[Record], headers: Headers = ()) -> None:
        self.headers += [headers] if headers else []
        await self.deliver_all(by_partition(records))

    async def deliver_all(self, outgoing: Outgoing) -> None:
        if not outgoing:
            return
        self.interrupt("before")
        for (topic, partition), records in outgoing.items():
            for key, value in records:
                self.append(topic, partition, key, value)
        self.interrupt("after")

    def send_each(self, outgoing: Outgoing) -> dict[Place, asyncio.Future[None]]:
        """Let each partition take what it can, now or when it is not stuck any more."""
        sent: dict[Place, asyncio.Future[None]] = {}
        if not outgoing:
            return sent
        self.interrupt("before")
        for place, records in outgoing.items():
            sent[place] = asyncio.get_running_loop().create_future()
            self.waiting.append((place, records, sent[place]))
        self.take()
        self.interrupt("after")
        return sent

    def take(self) -> None:
        """Take what waits, but for what is stuck."""
        taken, self.waiting = self.waiting, [one for one in self.waiting if one[0] in self.stuck]
        for (topic, partition), records, future in taken:
            if (topic, partition) in self.stuck:
                continue
            for key, value in records:
                self.append(topic, partition, key, value)
            if not future.cancelled():
                future.set_result(None)

    def cut_off(self, *, takes_first: bool) -> None:
        """Let what waits be taken first, or be lost with whoever sent it."""
        stuck, self.stuck = self.stuck, set() if takes_first else self.stuck
        self.take()
        self.waiting.clear()
        self.stuck = stuck

    async def deliver_atomically(self, topic: str, partition: int, rows: Mapping[bytes, bytes | None]) -> int:
        size = sum(len(key) + len(value or b"") for key, value in rows.items())
        if not rows or size > BUILDER_BYTES:
            raise StateError(f"a step of {len(rows)} rows and {size} bytes does not fit one record batch of {topic}")
        self.interrupt("before")
        offsets = [self.append(topic, partition, key, value) for key, value in rows.items()]
        self.interrupt("after")
        return offsets[-1]


class MemoryRows:
    """One partition of a table: `PartitionRows` over a dictionary."""

    def __init__(self, partition: int, changelog: str) -> None:
        self.partition = partition
        self.changelog = changelog
        self.stored: dict[bytes, bytes] = {}
        self.changelog_offset = -1

    def get(self, key: bytes) -> bytes | None:
        return self.stored.get(key)

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        return [self.stored.get(key) for key in keys]

    def due(self, until_ms: int, limit: int) -> list[tuple[int, bytes]]:
        entries = [(int.from_bytes(key[1:9], "big"), key[9:]) for key in sorted(self.stored) if key[:1] == INDEX]
        return [entry for entry in entries if entry[0] <= until_ms][:limit]

    def scan(self, prefix: bytes) -> list[tuple[bytes, bytes]]:
        return [(key, self.stored[key]) for key in sorted(self.stored) if key.startswith(prefix)]

    def write(
        self, rows: Mapping[bytes, bytes | None], changelog_offset: int, local: Iterable[tuple[bytes, bool]]
    ) -> None:
        for key, value in (*rows.items(), *((key, b"" if is_there else None) for key, is_there in local)):
            if value is None:
                self.stored.pop(key, None)
            else:
                self.stored[key] = value
        self.changelog_offset = changelog_offset

    def close(self) -> None:
        """The dictionary stays."""


class MemoryTable:
    """A table; opening a partition brings it up to its changelog's end."""

    def __init__(self, broker: MemoryBroker, changelog: str, index: Callable[[bytes], int] | None) -> None:
        self._broker = broker
        self._changelog = changelog
        self._index = index
        self._disk: dict[int, MemoryRows] = {}

    async def open(self, number: int) -> DurablePartition:
        rows: Any = self.partition(number)
        return DurablePartition(rows, self._broker)

    def partition(self, number: int) -> MemoryRows:
        rows = self._disk.setdefault(number, MemoryRows(number, self._changelog))
        for record in self._broker.logs[self._changelog, number][rows.changelog_offset + 1 :]:
            index = []
            if record.value is not None and self._index is not None and record.key[:1] == ROW:
                index.append((due_key(self._index(record.value), record.key[1:]), True))
            rows.write({record.key: record.value}, record.offset, index)
        return rows

    def lose(self) -> None:
        """Lose the disk."""
        self._disk.clear()


class KnownPolicies:
    """`Policies` that are known from the start."""

    def __init__(self, *definitions: PolicyDefinition) -> None:
        self.book = PolicyBook()
        for definition in definitions:
            self.book.put(definition)

    async def refresh(self) -> None:
        """There is nothing more to read."""
