"""Read and give directives: what holds about a policy's snapshots, by the topic `policies`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from typing import Any

from pipeline.audit.entry import Change
from pipeline.audit.record import Operator, changing
from pipeline.codec import avro
from pipeline.errors import ConfigError, UnavailableError
from pipeline.policy.book import PolicyBook
from pipeline.policy.directive import PIN, ROLLBACK, Directive
from pipeline.publish.parts import part_key, part_names
from pipeline.stream.log.follow import TopicFollower
from pipeline.stream.log.outbox import BUILDER_BYTES, Outbox, Record
from pipeline.stream.log.snapshot_records import SnapshotReader
from pipeline.stream.log.topics import POLICIES, SNAPSHOTS, partition_for
from pipeline.stream.policies import Policies
from pipeline.stream.security import Address

OBEYED_WITHIN_S = 10.0
# Published again, a record may be a little longer: its parent's id, greater numbers, the row of the hold.
LARGEST_CONTENT_BYTES = BUILDER_BYTES - (1 << 10)


async def read_book(broker: Address) -> PolicyBook:
    """Return the policies and directives that hold."""
    policies = Policies(broker)
    try:
        await policies.start()
        return policies.book
    finally:
        await policies.stop()


async def give(
    broker: Address, directive: Directive, by: Operator, parts: Mapping[str, bytes] | None = None
) -> int | None:
    """Write a directive; return the version that was published by it, None where none is (a pin).

    Args:
        broker: bootstrap servers.
        directive: the order.
        by: who gives it.
        parts: what the content of a rollback names. They stand before it in `policies` until the next directive.

    Raises:
        ConfigError: its content can't be published; or another directive was given at the same time, and holds.
        UnavailableError: not acknowledged, or no worker has acted on it yet.
    """
    if len(directive.content) > LARGEST_CONTENT_BYTES:
        seen = (
            f"version {directive.version} is {len(directive.content)} bytes, expected at most {LARGEST_CONTENT_BYTES}"
        )
        raise ConfigError("rollback", [f"{seen} of what is published again: choose another version"])
    policies, published = Policies(broker), TopicFollower(broker, SNAPSHOTS)
    try:
        await policies.start()
        before, last = policies.book.parts(directive.policy), policies.book.directive(directive.policy)
        change = Change("directive", directive.policy, last and _plain(last), _plain(directive))
        await published.start()
        live: Mapping[str, Any] = {"version": 0, "rollback_of": 0}
        async for records in published.batches_to_end():
            live = max([live, *_snapshots(records, directive.policy)], key=lambda fields: fields["version"])
        async with changing(broker, by, change) as outbox:
            await _write(outbox, directive, parts or {})
            await policies.refresh()
            holds = policies.book.directive(directive.policy)
            if holds is None or holds == directive:
                await _drop(outbox, directive.policy, before.keys() - (parts or {}).keys())
            else:
                await _give_way(outbox, directive, parts or {}, holds)
                if directive.action != PIN and live["rollback_of"] == _content_of(directive):
                    # The same was given at the same time, and acted on before anything was looked at here.
                    return int(live["version"])
            return None if directive.action == PIN else await _published_by(published, directive, live["version"])
    finally:
        await published.stop()
        await policies.stop()


async def _write(outbox: Outbox, directive: Directive, parts: Mapping[str, bytes]) -> None:
    """Write the parts, and what orders that they be published."""
    partition = partition_for(directive.policy, await outbox.partition_count(POLICIES))
    # A name has no slash, and a generation is a number: no definition has this key.
    key = f"{directive.policy}/directive".encode()
    records = [Record(POLICIES, partition, part_key(directive.policy, name), part) for name, part in parts.items()]
    records.append(Record(POLICIES, partition, key, avro.encode("directive", directive._asdict())))
    await outbox.deliver(records)


async def _drop(outbox: Outbox, policy: str, names: Iterable[str]) -> None:
    """Say that parts are not needed any more."""
    partition = partition_for(policy, await outbox.partition_count(POLICIES))
    await outbox.deliver([Record(POLICIES, partition, part_key(policy, name), None) for name in sorted(names)])


async def _give_way(outbox: Outbox, directive: Directive, parts: Mapping[str, bytes], holds: Directive) -> None:
    """Write the directive that holds over one that was passed over: the last of a key is what compaction leaves.

    Raises:
        ConfigError: it orders something else.
    """
    needed = part_names(avro.decode_as("snapshot", holds.content)) if holds.action == ROLLBACK else ()
    await _write(outbox, holds, {})
    await _drop(outbox, directive.policy, parts.keys() - set(needed))
    if (holds.action, holds.version) != (directive.action, directive.version):
        of = f" of version {holds.version}" if holds.version else ""
        fault = (
            f"{holds.action}{of} was given at the same time and holds; nothing of yours was done: look (pipeline "
            f"snapshot list --policy {directive.policy}), and give it again if it is still wanted"
        )
        raise ConfigError(f"{directive.action} of {directive.policy}", [fault])


def _plain(directive: Directive) -> dict[str, Any]:
    return {"action": directive.action, "version": directive.version, "number": directive.number}


async def _published_by(published: TopicFollower, directive: Directive, version: int) -> int:
    deadline = time.monotonic() + OBEYED_WITHIN_S
    while time.monotonic() < deadline:
        for fields in _snapshots(await published.poll(), directive.policy):
            if fields["version"] > version and fields["rollback_of"] == _content_of(directive):
                return int(fields["version"])
        await asyncio.sleep(0)
    raise UnavailableError(
        f"{directive.action} of {directive.policy} is written, but was not acted on within {OBEYED_WITHIN_S:.0f} s: "
        "no worker is running, or it is behind. It acts on it when it can: pipeline snapshot list"
    )


def _content_of(directive: Directive) -> int:
    """Return of which version a directive's content is; 0: what is learned."""
    return directive.version if directive.action == ROLLBACK else 0


def _snapshots(records: Any, policy: str) -> list[Mapping[str, Any]]:
    return [one.fields for _, one in SnapshotReader().read(records) if one.fields["policy"] == policy]
