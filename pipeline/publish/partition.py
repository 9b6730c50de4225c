"""What PUBLISH holds of one partition of `statistics`, in memory and as it is stored.

Table rows:   p[row key, source] statistics | m[policy, generation, source] mark | b[policy, generation] base
              v<policy> last version | h<policy> last directive acted on | s where reading begins again
              o, t parts of the last version (`sending.py`)
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

from pipeline.codec import avro
from pipeline.errors import DecodeError, StateError
from pipeline.learn.memory import RowKey, statistics_from_bytes
from pipeline.publish.derivation import Derivation
from pipeline.publish.hold import Hold, hold_from_bytes
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
PublisherOf = tuple[str, int]
"""A policy generation."""


class Published(NamedTuple):
    """The last snapshot of a policy."""

    version: int
    id: str
    definition_hash: str
    parts: frozenset[str]
    """Names of its parts; none where it is one record."""


class PublishPartition:
    """What is in memory of one partition of `statistics`: the policies that hash to it."""

    def __init__(self, held: DurablePartition) -> None:
        rows = held.rows
        self.held = held
        self.rows = rows
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
        return self.partials.setdefault((policy, generation), Partials())

    def next_of(self, policy: str) -> tuple[int, str]:
        """Return version and parent of a policy's next snapshot."""
        last = self.published.get(policy)
        return (1, "") if last is None else (last.version + 1, last.id)

    def learn(self, content: bytes) -> Published | None:
        """Go on from a snapshot that was published, if it is later than what is stored; return it then."""
        found, policy = published_from(content), stored("snapshot", content)["policy"]
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
        for stored_key, value in self.rows.scan(PARTIAL):
            *row, source = orjson.loads(stored_key[1:])
            key = PartialKey(RowKey(*row), source)
            self.of(key.row.policy, key.row.generation).merged[key] = statistics_from_bytes(value)
        for stored_key, value in self.rows.scan(HOLD):
            self.holds[stored_key[1:].decode()] = hold_from_bytes(value)
        for stored_key, content in self.rows.scan(VERSION):
            policy = stored_key[1:].decode()
            self.published[policy] = published_from(content)
            self.unsent.append(content)
            self.dirty.add(policy)


def stored(schema: str, value: bytes) -> dict[str, Any]:
    """Read a record that a worker has stored: this one, or one of a later release before it was taken back."""
    try:
        return avro.decode_as(schema, value)
    except DecodeError as error:
        raise StateError(
            f"a stored {schema} can't be read ({error}): use the release that wrote it, or a later one; "
            "ops/runbooks/rolling-restart.md says how a release is taken back"
        ) from error


def published_from(content: bytes) -> Published:
    """Return what a snapshot says of itself. Raises StateError."""
    record = stored("snapshot", content)
    parts = frozenset(part_names(record))
    return Published(record["version"], snapshot_id(content), record["definition_hash"], parts)
