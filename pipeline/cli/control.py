"""Write definitions and switches to `policies`: each time against what is in force, and recorded."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import orjson

from pipeline.audit.entry import Change, differing
from pipeline.audit.record import Operator, changing
from pipeline.codec import avro
from pipeline.errors import ConfigError
from pipeline.policy.book import PolicyBook
from pipeline.policy.canonical import to_canonical_json
from pipeline.policy.changes import check_change
from pipeline.policy.definition import PolicyDefinition
from pipeline.policy.halt import Halt
from pipeline.policy.operations import keep_switches
from pipeline.policy.switches import Switch
from pipeline.replay.recounting.run import read_base
from pipeline.stream.log.outbox import Outbox, Record
from pipeline.stream.log.topics import POLICIES, partition_for
from pipeline.stream.policies import Policies
from pipeline.stream.security import Address


async def apply_policy(
    broker: Address, definition: PolicyDefinition, by: Operator, *, is_promoted: bool = False
) -> bool:
    """Write a definition to `policies`; return whether it differs from the one in force.

    Args:
        broker: bootstrap servers.
        definition: what is to be in force.
        by: who wants it.
        is_promoted: its generation is that of a replay, and the definition the replay's own.

    Raises:
        ConfigError: it may not follow the one in force (`policy/changes.py` says why), or begins a generation that a
            replay was made for.
    """
    async with known_policies(broker) as policies:
        current = policies.book.latest(definition.name)
        if current is not None:
            definition = keep_switches(current, definition)
            if current.definition_hash == definition.definition_hash:
                return False
            check_change(current, definition)
            if definition.generation > current.generation and not is_promoted:
                await _check_not_replayed(broker, definition)
        await _write(broker, by, policies, current, definition)
        return True


async def change_policy(
    broker: Address,
    name: str,
    by: Operator,
    change: Callable[[PolicyDefinition], PolicyDefinition],
    because: Mapping[str, Any] | None = None,
) -> PolicyDefinition:
    """Write the latest definition as changed; return what is in force then.

    Args:
        broker: bootstrap servers.
        name: the policy.
        by: who wants it.
        change: the definition as it is to be.
        because: why, as plain values for the record of it.
    """
    async with known_policies(broker) as policies:
        current = find_policy(policies.book, name)
        definition = change(current)
        if definition.definition_hash != current.definition_hash:
            await _write(broker, by, policies, current, definition, because)
        return policies.book.in_force(name) or definition


async def turn_switches(
    broker: Address, name: str, by: Operator, turns: Callable[[PolicyDefinition, frozenset[str]], Sequence[Switch]]
) -> PolicyDefinition:
    """Turn switches, each by a record that stands for itself; return what is in force then."""
    async with known_policies(broker) as policies:
        off = policies.book.switched_off(name)
        switches = turns(find_policy(policies.book, name), off)
        turned = {one.arm or "all arms": "off" if one.is_off else "on" for one in switches}
        before = {one.arm or "all arms": "off" if one.arm in off else "on" for one in switches}
        async with changing(broker, by, Change("switches", name, before, turned)) as outbox:
            partition = partition_for(name, await outbox.partition_count(POLICIES))
            records = [
                Record(POLICIES, partition, each.key, avro.encode("switch", each._asdict())) for each in switches
            ]
            await outbox.deliver(records)
        await policies.refresh()
        return find_policy(policies.book, name, is_worn=True)


async def halt_ramp(broker: Address, by: Operator, halt: Halt, because: Mapping[str, Any] | None = None) -> None:
    """Write that a policy's ramp is halted, or goes on."""
    async with known_policies(broker) as policies:
        find_policy(policies.book, halt.policy)
        before = policies.book.halt(halt.policy)
        after = {"cause": halt.cause, "why": halt.why} | ({} if because is None else {"because": because})
        change = Change("ramp", halt.policy, before and {"cause": before.cause, "why": before.why}, after)
        async with changing(broker, by, change) as outbox:
            partition = partition_for(halt.policy, await outbox.partition_count(POLICIES))
            await outbox.deliver([Record(POLICIES, partition, halt.key, avro.encode("halt", halt._asdict()))])


def find_policy(book: PolicyBook, name: str, *, is_worn: bool = False) -> PolicyDefinition:
    """Return the latest definition as it was written, or as it is worn, with what is switched off.

    Raises:
        ConfigError: it is not applied.
    """
    current = book.in_force(name) if is_worn else book.latest(name)
    if current is None:
        known = ", ".join(definition.name for definition in book) or "none"
        raise ConfigError(f"policy {name}", [f"is not applied; known: {known}"])
    return current


@asynccontextmanager
async def known_policies(broker: Address) -> AsyncIterator[Policies]:
    """Give what is in force."""
    policies = Policies(broker)
    try:
        await policies.start()
        yield policies
    finally:
        await policies.stop()


async def _write(
    broker: Address,
    by: Operator,
    policies: Policies,
    before: PolicyDefinition | None,
    definition: PolicyDefinition,
    because: Mapping[str, Any] | None = None,
) -> None:
    """Write a definition, and look whether it is taken: another one may have been written at the same time.

    The record that was passed over is the last one of its key, all that compaction would leave. So it is written over
    by the one that is in force.

    Raises:
        ConfigError: it was passed over, as it may not follow the other.
    """
    async with changing(broker, by, _change(before, definition, because)) as outbox:
        await _put(outbox, definition)
        await policies.refresh()
        hash_, error = policies.refused.get(definition.name, ("", None))
        if error is None or hash_ != definition.definition_hash:
            return
        current = policies.book.find(definition.name, definition.generation)
        if current is not None:
            await _put(outbox, current)
        overtaken = (
            f"another definition was applied at the same time, which this one may not follow ({error}); apply again"
        )
        raise ConfigError(f"policy {definition.name}", [overtaken])


def _change(before: PolicyDefinition | None, after: PolicyDefinition, because: Mapping[str, Any] | None) -> Change:
    """Say what of a definition changes; its hashes say of which."""
    was, is_to_be = ({} if one is None else orjson.loads(to_canonical_json(one)) for one in (before, after))
    old, new = differing(was, is_to_be)
    if before is not None:
        old |= {"definition_hash": before.definition_hash}
    new |= {"definition_hash": after.definition_hash} | ({} if because is None else {"because": because})
    return Change("definition", after.name, old or None, new)


async def _put(outbox: Outbox, definition: PolicyDefinition) -> None:
    record = {
        "name": definition.name,
        "generation": definition.generation,
        "definition": to_canonical_json(definition).decode(),
    }
    partition = partition_for(definition.name, await outbox.partition_count(POLICIES))
    # One key a generation: actions of an earlier one may still be open when compaction comes.
    key = f"{definition.name}/{definition.generation}".encode()
    await outbox.deliver([Record(POLICIES, partition, key, avro.encode("policy", record))])


async def _check_not_replayed(broker: Address, definition: PolicyDefinition) -> None:
    """Refuse to begin by hand a generation whose past a replay has counted, maybe under other rules."""
    name, generation = definition.name, definition.generation
    if await read_base(broker, name, generation) is not None:
        fault = (
            f"generation: {generation} was made by a replay, which pipeline replay promote {name} {generation} puts in "
            f"force; {generation + 1} is free"
        )
        raise ConfigError(f"policy {name}", [fault])
