"""Write definitions and switches to `policies`: each time against what is in force, and recorded."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, NamedTuple, TypeVar

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
from pipeline.policy.operations import keep_rollout, keep_switches
from pipeline.policy.switches import Switch
from pipeline.replay.recounting.loaded import is_loaded
from pipeline.replay.recounting.plan import ReplayPlan, promoted, uncounted
from pipeline.replay.recounting.run import read_base
from pipeline.stream.log.outbox import Outbox, Record
from pipeline.stream.log.topics import POLICIES, partition_for
from pipeline.stream.policies import Policies
from pipeline.stream.security import Address

T = TypeVar("T")

TRIES = 5
"""Of a change that others' changes get before; each time it is made anew, from what is in force then."""


class Applied(NamedTuple):
    """What applying a file came to."""

    is_new: bool
    """Whether it differs from what was in force."""
    kept: Sequence[str]
    """What of the file was not taken, and what to do for it, in words."""


class OvertakenError(ConfigError):
    """Another definition was written since the one that this one was made from was read."""


async def apply_policy(broker: Address, definition: PolicyDefinition, by: Operator) -> Applied:
    """Write a definition to `policies`; what commands have set stays: switches, and how far a rollout has come.

    Args:
        broker: bootstrap servers.
        definition: what is to be in force.
        by: who wants it.

    Raises:
        ConfigError: it may not follow the one in force (`policy/changes.py` says why), begins a generation that a
            replay was made for, or another one was applied at the same time.
    """
    async with known_policies(broker) as policies:
        current = policies.book.latest(definition.name)
        kept: Sequence[str] = ()
        if current is not None:
            definition, kept = keep_rollout(current, keep_switches(current, definition))
            if current.definition_hash == definition.definition_hash:
                return Applied(is_new=False, kept=kept)
            check_change(current, definition)
            if definition.generation > current.generation:
                await _check_not_replayed(broker, definition)
        await _write(broker, by, policies, current, definition)
        return Applied(is_new=True, kept=kept)


async def promote_replay(broker: Address, plan: ReplayPlan, by: Operator) -> bool:
    """Put a replayed generation in force; return whether it was not yet. What was edited meanwhile stays.

    Raises:
        ConfigError: the replay has to count on first, or what it was asked for was edited meanwhile.
    """
    name, into = plan.definition.name, plan.definition.generation

    async def attempt() -> bool:
        async with known_policies(broker) as policies:
            current = find_policy(policies.book, name)
            definition = promoted(plan, current)
            if current.generation == into:
                return False
            has_history = plan.source == "events" and await is_loaded(broker, name)
            if missed := uncounted(plan, policies.book, has_history=has_history):
                fault = (
                    f"{', '.join(missed)} was added since the replay began, and is not counted in it: pipeline replay "
                    f"--policy {name} --into {into} counts anew with it, then promote again"
                )
                raise ConfigError(f"generation {into} of {name}", [fault])
            check_change(current, definition)
            await _write(broker, by, policies, current, definition)
            return True

    return await _again_if_overtaken(attempt)


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
        change: the definition as it is to be; made anew where another definition was written meanwhile.
        because: why, as plain values for the record of it.
    """

    async def attempt() -> PolicyDefinition:
        async with known_policies(broker) as policies:
            current = find_policy(policies.book, name)
            definition = change(current)
            if definition.definition_hash != current.definition_hash:
                await _write(broker, by, policies, current, definition, because)
            return policies.book.in_force(name) or definition

    return await _again_if_overtaken(attempt)


async def _again_if_overtaken(attempt: Callable[[], Awaitable[T]]) -> T:
    """Make a change, from what is in force then each time; the last refusal is the answer."""
    for _ in range(TRIES - 1):
        with suppress(OvertakenError):
            return await attempt()
    return await attempt()


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
    """Write a definition that was made from another one, and look whether it is taken: readers go by the log's order.

    The record that was passed over is the last one of its key, all that compaction would leave. So it is written over
    by the one that is in force.

    Raises:
        OvertakenError: it was passed over, as another one was written before it.
    """
    async with changing(broker, by, _change(before, definition, because)) as outbox:
        await _put(outbox, definition, "" if before is None else before.definition_hash)
        await policies.refresh()
        hash_, error = policies.refused.get(definition.name, ("", None))
        if error is None or hash_ != definition.definition_hash:
            return
        current = policies.book.find(definition.name, definition.generation)
        if current is not None:
            await _put(outbox, current, None)
        overtaken = (
            f"another definition was applied at the same time, which this one may not follow ({error}); look at it "
            f"(pipeline policy show {definition.name} --json), and apply again if this is still wanted"
        )
        raise OvertakenError(f"policy {definition.name}", [overtaken])


def _change(before: PolicyDefinition | None, after: PolicyDefinition, because: Mapping[str, Any] | None) -> Change:
    """Say what of a definition changes; its hashes say of which."""
    was, is_to_be = ({} if one is None else orjson.loads(to_canonical_json(one)) for one in (before, after))
    old, new = differing(was, is_to_be)
    if before is not None:
        old |= {"definition_hash": before.definition_hash}
    new |= {"definition_hash": after.definition_hash} | ({} if because is None else {"because": because})
    return Change("definition", after.name, old or None, new)


async def _put(outbox: Outbox, definition: PolicyDefinition, follows: str | None) -> None:
    record = {
        "name": definition.name,
        "generation": definition.generation,
        "definition": to_canonical_json(definition).decode(),
        "follows": follows,
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
