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
from pipeline.policy.directive import PIN, ROLLBACK, UNPIN, Directive
from pipeline.publish.parts import part_key
from pipeline.stream.log.follow import TopicFollower
from pipeline.stream.log.outbox import BUILDER_BYTES, Outbox, Record
from pipeline.stream.log.snapshot_records import snapshots_in
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


def is_held(directive: Directive | None) -> bool:
    """Return whether a policy is pinned or rolled back, by the last directive about it."""
    return directive is not None and directive.action != UNPIN


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
        ConfigError: its content can't be published.
        UnavailableError: not acknowledged, or no worker has acted on it yet.
    """
    if len(directive.content) > LARGEST_CONTENT_BYTES:
        seen = (
            f"version {directive.version} is {len(directive.content)} bytes, expected at most {LARGEST_CONTENT_BYTES}"
        )
        raise ConfigError("rollback", [f"{seen} of what is published again: choose another version"])
    book = await read_book(broker)
    before, last = book.parts(directive.policy), book.directive(directive.policy)
    change = Change("directive", directive.policy, last and _plain(last), _plain(directive))
    published = TopicFollower(broker, SNAPSHOTS)
    try:
        await published.start()
        version = 0
        async for records in published.batches_to_end():
            version = max(version, _last_version(records, directive.policy))
        async with changing(broker, by, change) as outbox:
            await _write(outbox, directive, parts or {}, before.keys())
            return None if directive.action == PIN else await _published_by(published, directive, version)
    finally:
        await published.stop()


async def _write(outbox: Outbox, directive: Directive, parts: Mapping[str, bytes], before: Iterable[str]) -> None:
    """Write the parts, what orders that they be published, and that the parts of the order before are not needed."""
    partition = partition_for(directive.policy, await outbox.partition_count(POLICIES))
    # A name has no slash, and a generation is a number: no definition has this key.
    key = f"{directive.policy}/directive".encode()
    records = [Record(POLICIES, partition, part_key(directive.policy, name), part) for name, part in parts.items()]
    records.append(Record(POLICIES, partition, key, avro.encode("directive", directive._asdict())))
    gone = sorted(set(before) - parts.keys())
    records += [Record(POLICIES, partition, part_key(directive.policy, name), None) for name in gone]
    await outbox.deliver(records)


def _plain(directive: Directive) -> dict[str, Any]:
    return {"action": directive.action, "version": directive.version, "number": directive.number}


async def _published_by(published: TopicFollower, directive: Directive, version: int) -> int:
    content_of = directive.version if directive.action == ROLLBACK else 0
    deadline = time.monotonic() + OBEYED_WITHIN_S
    while time.monotonic() < deadline:
        for fields in _snapshots(await published.poll(), directive.policy):
            if fields["version"] > version and fields["rollback_of"] == content_of:
                return int(fields["version"])
        await asyncio.sleep(0)
    raise UnavailableError(
        f"{directive.action} of {directive.policy} is written, but was not acted on within {OBEYED_WITHIN_S:.0f} s: "
        "no worker is running, or it is behind. It acts on it when it can: pipeline snapshot list"
    )


def _last_version(records: Any, policy: str) -> int:
    return max((fields["version"] for fields in _snapshots(records, policy)), default=0)


def _snapshots(records: Any, policy: str) -> list[Mapping[str, Any]]:
    return [fields for _, fields in snapshots_in(records) if fields["policy"] == policy]
