"""What PUBLISH holds of one partition of `statistics`, in memory and as it is stored.

Rows of statistics by bucket lie in the store alone, however many there have been: in memory are their sums by age.

Table rows:   p[row key, source] statistics | m[policy, generation, source] mark | b[policy, generation] base
              v<policy> last version | h<policy> last directive acted on | s where reading begins again
              o, t parts of the last version, w what the history may be given whole (`sending.py`)
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, ItemsView, Iterable, Iterator, Mapping, MutableMapping
from functools import partial
from itertools import chain, islice
from typing import Any, NamedTuple, Protocol, TypeVar, cast

import orjson

from pipeline.codec import avro
from pipeline.errors import DecodeError, StateError
from pipeline.learn.memory import RowKey, statistics_from_bytes, statistics_to_bytes
from pipeline.models.sums.statistics import Statistics
from pipeline.policy.canonical import canonical_bytes
from pipeline.policy.definition import PolicyDefinition
from pipeline.publish.derivation import Derivation
from pipeline.publish.hold import Hold, hold_from_bytes
from pipeline.publish.outline import kept
from pipeline.publish.partials import Mark, PartialKey, Partials, base_from
from pipeline.publish.parts import part_names
from pipeline.publish.sending import Sending
from pipeline.publish.snapshot import snapshot_id
from pipeline.stream.log import topics
from pipeline.stream.log.sources import Resumption
from pipeline.stream.state.durable import DurablePartition
from pipeline.stream.state.tables import PROGRESS

PARTIAL = b"p"
MARK = b"m"
BASE = b"b"
VERSION = b"v"
HOLD = b"h"
T = TypeVar("T")
PublisherOf = tuple[str, int]
"""A policy generation."""


class Published(NamedTuple):
    """The last snapshot of a policy."""

    version: int
    id: str
    definition_hash: str
    parts: frozenset[str]
    """Names of its parts; none where it is one record."""
    definition: str
    """The policy as it was then; empty where only an outline is known."""
    event_time_ms: int
    """That it is complete up to."""

    def is_within_epoch(self, definition: PolicyDefinition, event_time_ms: int) -> bool:
        """Return whether people keep the answers of this snapshot at an event time.

        They do not where the definition is another one. What is switched off is no other one: nodes see to it, and
        whoever is not shown what is off keeps what it has.
        """
        assignment = definition.assignment
        if assignment is None or not self.definition or assignment.is_over(self.event_time_ms, event_time_ms):
            return False
        return _unswitched(orjson.loads(self.definition)) == _unswitched(definition.to_plain())


class Stored(Protocol):
    """A store of rows."""

    def get(self, key: bytes, /) -> bytes | None:
        """Return one row."""

    def scan(self, prefix: bytes, /) -> Iterable[tuple[bytes, bytes]]:
        """Yield the rows whose keys begin so, as they were when the first was asked for."""


class StoredPartials(MutableMapping[PartialKey, Statistics]):
    """The rows of one policy generation where they are stored; in memory are those that are not durable yet."""

    def __init__(self, rows: Stored, unwritten: dict[bytes, bytes | None], policy: str, generation: int) -> None:
        self._rows = rows
        self._unwritten = unwritten
        self._prefix = PARTIAL + orjson.dumps([policy, generation])[:-1] + b","

    def __getitem__(self, key: PartialKey) -> Statistics:
        name = partial_name(key)
        value = self._unwritten[name] if name in self._unwritten else self._rows.get(name)
        if value is None:
            raise KeyError(key)
        return statistics_from_bytes(value)

    def __setitem__(self, key: PartialKey, row: Statistics) -> None:
        self._unwritten[partial_name(key)] = statistics_to_bytes(row)

    def __delitem__(self, key: PartialKey) -> None:
        self._unwritten[partial_name(key)] = None

    def __iter__(self) -> Iterator[PartialKey]:
        return (key for key, _ in self.items())

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def items(self) -> ItemsView[PartialKey, Statistics]:
        """Return all rows as of now, whenever they are gone through: the store's cursor sees nothing later."""
        newer = {name: value for name, value in self._unwritten.items() if name.startswith(self._prefix)}
        cursor = iter(self._rows.scan(self._prefix))
        first = list(islice(cursor, 1))
        stored = (row for row in chain(first, cursor) if row[0] not in newer)
        rows = chain(stored, ((name, value) for name, value in newer.items() if value is not None))
        return cast("ItemsView[PartialKey, Statistics]", ((partial_key(n), statistics_from_bytes(v)) for n, v in rows))


def partial_name(key: PartialKey) -> bytes:
    """Return the key that a row is stored under."""
    return PARTIAL + orjson.dumps([*key.row.parts(), key.source])


def partial_key(name: bytes) -> PartialKey:
    """Return the key of a stored row."""
    *row, source = orjson.loads(name[1:])
    return PartialKey(RowKey(*row), source)


class PublishPartition:
    """What is in memory of one partition of `statistics`: the policies that hash to it."""

    def __init__(self, held: DurablePartition) -> None:
        rows = held.rows
        self.held = held
        self.rows = rows
        self.unwritten: dict[bytes, bytes | None] = {}
        """Rows that are taken in and not durable yet."""
        self.partials: dict[PublisherOf, Partials] = {}
        self.staged_since: dict[tuple[str, int, int], int] = {}
        """By policy, generation and source: offset of the first row that waits for its mark."""
        stored = rows.get(PROGRESS)
        self.position = 0 if stored is None else int(stored)
        """Next offset of `statistics` to read; in the store, the first that is not in or waits for its mark."""
        self.published: dict[str, Published] = {}
        self.holds: dict[str, Hold] = {}
        """By policy: the last directive that was acted on."""
        self.complete_at = 0
        """Nothing is published before so much of `statistics` is in: the state begins anew."""
        self.unsent: list[bytes] = []
        """Last snapshots as stored: the crash may have come before they were sent."""
        self.sending = Sending(held)
        """What is stored and sent of their snapshots' parts."""
        self.derivations: defaultdict[str, Derivation] = defaultdict(Derivation)
        """By policy: what the next posterior goes on from."""
        self.dirty: set[str] = set()
        self.published_at_s: dict[str, float] = {}
        self.taking_in = asyncio.Lock()
        """Held from the first row of a mark to its last: between them there is no consistent cut."""
        self.writing = asyncio.Lock()
        """Held from changelog to RocksDB: the local store takes changelog batches in their order."""
        self._restore()

    def positions(self) -> Mapping[str, int]:
        """Return the next offset of `statistics` to read."""
        return {topics.STATISTICS: self.position}

    def resume(self, found: Mapping[str, Resumption]) -> dict[bytes, bytes | None]:
        """Go on where `statistics` goes on."""
        self.position = found[topics.STATISTICS].position
        return {PROGRESS: b"%d" % self.position}

    def of(self, policy: str, generation: int) -> Partials:
        """Return what is known of a policy generation."""
        known = self.partials.get((policy, generation))
        if known is None:
            merged = StoredPartials(self.rows, self.unwritten, policy, generation)
            known = self.partials[policy, generation] = Partials(merged)
        return known

    def next_of(self, policy: str) -> tuple[int, str]:
        """Return version and parent of a policy's next snapshot."""
        last = self.published.get(policy)
        return (1, "") if last is None else (last.version + 1, last.id)

    def learn(self, content: bytes) -> Published | None:
        """Go on from a snapshot that was published, if it is later than what is stored; return it then.

        Args:
            content: as a topic has it, be it an outline.
        """
        one = _read("published snapshot", partial(kept, content))
        policy = one.fields["policy"]
        found = _published(one.fields, one.id)
        last = self.published.get(policy)
        if last is not None and last.version >= found.version:
            return None
        self.published[policy] = found
        self.unsent = [one for one in self.unsent if stored("snapshot", one)["policy"] != policy]
        self.dirty.add(policy)
        return found

    def is_held(self, policy: str) -> bool:
        """Return whether what is new of a policy waits for an operator."""
        return policy in self.published and self.holds.get(policy, Hold()).is_held

    def _restore(self) -> None:
        for stored_key, value in self.rows.scan(MARK):
            policy, generation, source = orjson.loads(stored_key[1:])
            self.of(policy, generation).marks[source] = Mark(*orjson.loads(value))
        for stored_key, value in self.rows.scan(BASE):
            policy, generation = orjson.loads(stored_key[1:])
            self.of(policy, generation).base = base_from(stored("statistics_base", value))
        for stored_key, value in self.rows.scan(HOLD):
            self.holds[stored_key[1:].decode()] = hold_from_bytes(value)
        for stored_key, content in self.rows.scan(VERSION):
            policy = stored_key[1:].decode()
            self.published[policy] = published_from(content)
            self.unsent.append(content)
            self.dirty.add(policy)


def stored(schema: str, value: bytes) -> dict[str, Any]:
    """Read a record that a worker has stored: this one, or one of a later release before it was taken back."""
    return _read(f"stored {schema}", partial(avro.decode_as, schema, value))


def _read(what: str, read: Callable[[], T]) -> T:
    try:
        return read()
    except DecodeError as error:
        raise StateError(
            f"a {what} can't be read ({error}): use the release that wrote it, or a later one; "
            "ops/runbooks/rolling-restart.md says how a release is taken back"
        ) from error


def published_from(content: bytes) -> Published:
    """Return what a snapshot says of itself. Raises StateError."""
    record = stored("snapshot", content)
    return _published(record, snapshot_id(content))


def _published(record: Mapping[str, Any], id_: str) -> Published:
    parts = frozenset(part_names(record))
    definition, event_time_ms = record["definition"], record["event_time_ms"]
    return Published(record["version"], id_, record["definition_hash"], parts, definition, event_time_ms)


def _unswitched(definition: Mapping[str, object]) -> bytes:
    return canonical_bytes({name: part for name, part in definition.items() if name != "killed"})
