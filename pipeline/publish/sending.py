"""How a snapshot of several parts is stored and sent, and what is known to have been (ops/decisions/0013-parts.md).

    1. the parts that are new go to the changelog, over as many steps as they take
    2. the snapshot, which names all its parts: from here on it is published    (`publish/agent.py`)
    3. the new parts are sent, then the snapshot, which nobody can use before it has all of them
    4. in `snapshots`, parts that it does not name are deleted; then in the changelog, where it says that all is sent

Table rows:   o<policy>/part/<sha256> a part of the last version | t<policy> how far its parts are sent
              w<policy> what the history may still be given whole (`outline.py`)
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

import orjson

from pipeline.codec import avro
from pipeline.errors import StateError
from pipeline.publish.outline import Left, if_whole, outline_of
from pipeline.publish.parts import PART_BYTES, SnapshotContent, part_key, part_of
from pipeline.publish.signing import Headers
from pipeline.publish.snapshot import snapshot_id
from pipeline.stream.failpoints import Reach, pass_by
from pipeline.stream.log.outbox import Record
from pipeline.stream.log.topics import SNAPSHOT_HISTORY, SNAPSHOTS
from pipeline.stream.state.durable import DurablePartition

PART = b"o"
SENT = b"t"
LEFT = b"w"
GROUP_BYTES = 2 << 20
"""Parts are gathered up to this size into what is written, or sent, at once."""
GONE_ROWS = 10_000
"""Keys of at most 300 bytes."""
WHOLE_AGAIN_MS = 6 * 3_600_000
"""A snapshot's parts that have not changed are sent to the history again this often: it keeps records by their age, and
a version in it must find all its parts."""

Write = Callable[[dict[bytes, bytes | None]], Awaitable[None]]
"""Makes rows durable as one step."""


class Sent(NamedTuple):
    """What is known to have been sent of a policy's parts."""

    id: str = ""
    """Of the snapshot whose parts all have been."""
    whole_at_ms: int = 0
    """When `snapshot-history` was last given all parts of one snapshot, by this machine's clock."""


NOTHING = Sent()


class Sending:
    """The parts of one partition's policies."""

    def __init__(self, held: DurablePartition) -> None:
        self._held = held
        self._parts: defaultdict[str, set[str]] = defaultdict(set)
        """By policy: names of the parts that are in the changelog, and but for a crash in `snapshots`."""
        self._sent: dict[str, Sent] = {}
        self._left: dict[str, Left] = {}
        for key, _ in held.rows.scan(PART):
            if found := part_of(key[1:]):
                self._parts[found[0]].add(found[1])
        for key, value in held.rows.scan(SENT):
            self._sent[key[1:].decode()] = Sent(*orjson.loads(value))
        for key, value in held.rows.scan(LEFT):
            self._left[key[1:].decode()] = Left(*orjson.loads(value))

    @property
    def policies(self) -> set[str]:
        """Those with parts in the changelog."""
        return {policy for policy, names in self._parts.items() if names}

    def is_sent(self, policy: str, id_: str) -> bool:
        """Return whether all parts of this snapshot are known to have been sent."""
        return self._sent.get(policy, NOTHING).id == id_

    async def store(
        self, policy: str, names: frozenset[str], parts: Mapping[str, bytes], write: Write, reach: Reach = pass_by
    ) -> frozenset[str]:
        """Write the parts that are not in the changelog yet; return which."""
        fresh = names - self._parts[policy]
        for group in _groups(fresh, parts):
            await write({PART + part_key(policy, name): parts[name] for name in group})
            self._parts[policy].update(group)
            reach("publish.parts-written")
        return fresh

    async def send(
        self,
        policy: str,
        content: SnapshotContent,
        names: frozenset[str],
        fresh: frozenset[str],
        to: Mapping[str, int],
        write: Write,
        reach: Reach = pass_by,
        headers: Headers = (),
    ) -> None:
        """Send the parts that are not in the topics yet, then the snapshot; then drop what it does not name.

        Args:
            policy: its policy.
            content: the snapshot, with those of its parts that are at hand; the changelog has all.
            names: of all its parts.
            fresh: of those that may not have been sent.
            to: partition of `snapshot-history` and of `snapshots`.
            write: makes rows durable.
            reach: told of each group of parts that is sent.
            headers: of the snapshot: its signature.
        """
        sent = self._sent.get(policy, NOTHING)
        fields = avro.decode_as("snapshot", content.record)
        again = bool(names) and _now_ms() - sent.whole_at_ms >= WHOLE_AGAIN_MS
        size = len(content.record) + sum(
            part["size_bytes"] for part in fields["parts"] if again or part["sha256"] in fresh
        )
        left = if_whole(self._left.get(policy), fields, size, _now_ms())
        is_whole = left is not None
        into = {topic: to[topic] for topic in to if is_whole or topic != SNAPSHOT_HISTORY}
        for group in _groups(names if again and is_whole else fresh, content.parts):
            await self._held.outbox.deliver(self._records(policy, content, group, fresh, into))
            reach("publish.parts-sent")
        key = policy.encode()
        values = dict.fromkeys(to, content.record)
        if not is_whole:
            values[SNAPSHOT_HISTORY] = outline_of(content.record, fields)
        records = [Record(topic, to[topic], key, value) for topic, value in values.items()]
        await self._held.outbox.deliver(records, headers)
        if left is not None:
            await write({LEFT + key: orjson.dumps(list(left))})
            self._left[policy] = left
        if names or self._parts.get(policy):
            # Parts that the history was not given it gets with the next snapshot that it has whole.
            lacks = bool(fresh) and not is_whole
            whole_at_ms = 0 if lacks else _now_ms() if again and is_whole else sent.whole_at_ms
            await self.drop(policy, names, to, write, Sent(snapshot_id(content.record), whole_at_ms))

    async def drop(
        self, policy: str, keep: frozenset[str], to: Mapping[str, int], write: Write, sent: Sent = NOTHING
    ) -> None:
        """Delete the parts that the last snapshot does not name, from `snapshots` and then from the changelog."""
        gone = sorted(self._parts[policy] - keep)
        keys = [part_key(policy, name) for name in gone]
        await self._held.outbox.deliver([Record(SNAPSHOTS, to[SNAPSHOTS], key, None) for key in keys])
        for start in range(0, len(keys), GONE_ROWS):
            await write({PART + key: None for key in keys[start : start + GONE_ROWS]})
        await write({SENT + policy.encode(): orjson.dumps(list(sent)) if keep else None})
        self._parts[policy] -= set(gone)
        self._sent[policy] = sent

    def _records(
        self, policy: str, content: SnapshotContent, group: Iterable[str], fresh: frozenset[str], to: Mapping[str, int]
    ) -> list[Record]:
        records = []
        for name in group:
            key = part_key(policy, name)
            part = content.parts.get(name) or self._held.rows.get(PART + key)
            if part is None:
                raise StateError(f"part {name} of the last snapshot of {policy} is not in the changelog")
            into = to if name in fresh else (SNAPSHOT_HISTORY,)
            records += [Record(topic, to[topic], key, part) for topic in into if topic in to]
        return records


def _now_ms() -> int:
    return round(time.time() * 1000)


def _groups(names: Iterable[str], at_hand: Mapping[str, bytes]) -> Iterator[list[str]]:
    """Gather parts into what is written or sent at once; one that is not at hand is about `PART_BYTES`."""
    group: list[str] = []
    size = 0
    for name in sorted(names):
        added = len(at_hand.get(name, b"")) or PART_BYTES
        if group and size + added > GROUP_BYTES:
            yield group
            group, size = [], 0
        group.append(name)
        size += added
    if group:
        yield group
