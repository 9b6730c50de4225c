"""`pipeline policy`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import get_args

import click
import orjson

from pipeline.audit.entry import Change, differing
from pipeline.audit.record import Operator, changing
from pipeline.cli import options
from pipeline.cli.directives import is_held, read_book
from pipeline.codec import avro
from pipeline.errors import ConfigError
from pipeline.evaluate.context_log import read_contexts
from pipeline.policy.book import PolicyBook
from pipeline.policy.canonical import to_canonical_json
from pipeline.policy.changes import check_change
from pipeline.policy.definition import PolicyDefinition
from pipeline.policy.feature_use import feature_doubts
from pipeline.policy.guardrails import RolloutMode
from pipeline.policy.operations import keep_switches, killing, revived, reviving, rolled_out
from pipeline.policy.parsing.parse import load_policy
from pipeline.policy.parsing.reward_grid import grid_doubts
from pipeline.policy.switches import Switch
from pipeline.replay.recounting.run import read_base
from pipeline.stream.log.outbox import Outbox, Record
from pipeline.stream.log.topics import POLICIES, partition_for
from pipeline.stream.policies import Policies
from pipeline.stream.security import Address

policy_file = click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))


@click.group()
def policy() -> None:
    """Policy definitions: check one, apply it, show what is applied, switch it off, roll it out."""


@policy.command()
@policy_file
@click.option(
    "--log",
    "log_file",
    envvar="PIPELINE_POLICY_LOG",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Try its features on a log too: JSON lines (decisions, or contexts alone) or a table with a column for each. "
    "[PIPELINE_POLICY_LOG]",
)
@options.as_json
def validate(file: Path, log_file: Path | None, as_json: bool) -> None:
    """Check a policy file; every fault in it is named. Exit code 1 if there are any.

    What is no fault but may not be meant is told as a doubt, on standard error: values that the reward's grid is coarse
    for; of a log, contexts that would be refused and features that use a hundredth of their bounds.

    \b
    Example:
      pipeline policy validate ops/policies/homepage.toml
      pipeline policy validate ops/policies/homepage.toml --log contexts.jsonl
    """
    definition = load_policy(file.read_text(encoding="utf-8"), str(file))
    doubts = grid_doubts(definition.reward)
    if log_file is not None:
        contexts, guessed = read_contexts(log_file.read_bytes(), str(log_file), definition.features)
        doubts += [*guessed, *feature_doubts(definition, contexts)]
    if as_json:
        click.echo(to_canonical_json(definition))
    else:
        click.echo(f"{file} is a valid policy: {_in_words(definition)}")
    for words in doubts:
        click.echo(f"! {words}", err=True)


@policy.command()
@options.broker_address
@policy_file
@options.audited
def apply(broker: Address, file: Path, by: Operator) -> None:
    """Make a policy file the definition in force, if it may follow the one that is.

    \b
    Example:
      pipeline policy apply --broker 127.0.0.1:9092 ops/policies/homepage.toml
    """
    definition = load_policy(file.read_text(encoding="utf-8"), str(file))
    is_new = asyncio.run(apply_policy(broker, definition, by))
    book = asyncio.run(read_book(broker))
    in_force = book.in_force(definition.name) or definition
    click.echo(f"{'applied' if is_new else 'already in force'}: {_in_words(in_force)}")
    if is_held(book.directive(definition.name)):
        click.echo(f"{definition.name} is held: nodes decide by it after `pipeline snapshot unpin {definition.name}`")


@policy.command()
@options.broker_address
@click.argument("name", required=False)
@options.as_json
def show(broker: Address, name: str | None, as_json: bool) -> None:
    """Show the policies in force, or one of them.

    \b
    Example:
      pipeline policy show homepage --json
    """
    book = asyncio.run(read_book(broker))
    chosen = [definition for definition in book if name in (None, definition.name)]
    if as_json:
        click.echo(orjson.dumps([orjson.loads(to_canonical_json(definition)) for definition in chosen]))
    elif not chosen:
        raise click.ClickException(f"no policy {name or ''} is applied: pipeline policy apply FILE")
    else:
        for definition in chosen:
            held = ", held" if is_held(book.directive(definition.name)) else ""
            click.echo(f"{_in_words(definition)}{held}")


@policy.command()
@options.broker_address
@click.argument("name")
@click.option("--arm", "arms", multiple=True, help="Only this arm; may be given again for another.")
@options.audited
def kill(broker: Address, name: str, arms: tuple[str, ...], by: Operator) -> None:
    """Switch a policy or some of its arms off, at once on every node, until it is revived.

    A killed policy shows its control arm, or any eligible arm uniformly; a killed arm is not shown.

    \b
    Example:
      pipeline policy kill homepage --arm promo
    """
    click.echo(_switched(asyncio.run(_turned(broker, name, by, lambda one, _: killing(one, arms, _now_ms())))))


@policy.command()
@options.broker_address
@click.argument("name")
@click.option("--arm", "arms", multiple=True, help="Only this arm; may be given again for another.")
@options.audited
def revive(broker: Address, name: str, arms: tuple[str, ...], by: Operator) -> None:
    """Switch a policy and all its arms on again, or only some arms.

    \b
    Example:
      pipeline policy revive homepage --arm promo
    """
    turned = asyncio.run(_turned(broker, name, by, lambda one, off: reviving(one, arms, off, _now_ms())))
    if turned.switches != revived(turned, arms).switches:
        # Its definition has them off too: a file's [killed], or what an earlier release wrote.
        turned = asyncio.run(_changed(broker, name, by, lambda one: revived(one, arms)))
    click.echo(_switched(turned))


@policy.command()
@options.broker_address
@click.argument("name")
@click.option(
    "--share",
    type=click.FloatRange(0.0, 100.0),
    required=True,
    metavar="PERCENT",
    help="Of subjects. A larger share keeps those that a smaller one had.",
)
@click.option("--mode", type=click.Choice(get_args(RolloutMode)), help="Show what it decides, or only log it.")
@options.audited
def rollout(broker: Address, name: str, share: float, mode: RolloutMode | None, by: Operator) -> None:
    """Let a policy with a [rollout] decide for a share of the subjects of the policy it is to follow.

    Go from 5 to 20, 50 and 100 percent as `pipeline report` allows.

    \b
    Example:
      pipeline policy rollout homepage-v2 --share 20
    """
    definition = asyncio.run(_changed(broker, name, by, lambda one: rolled_out(one, share / 100.0, mode)))
    if definition.rollout is not None:
        one = definition.rollout
        click.echo(f"{name} decides for {100.0 * one.share:g} % of the subjects of {one.of}, mode {one.mode}")


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
    async with _known(broker) as policies:
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


async def _changed(
    broker: Address, name: str, by: Operator, change: Callable[[PolicyDefinition], PolicyDefinition]
) -> PolicyDefinition:
    """Write the latest definition as changed; return what is in force then."""
    async with _known(broker) as policies:
        current = _find(policies.book, name)
        definition = change(current)
        if definition.definition_hash != current.definition_hash:
            await _write(broker, by, policies, current, definition)
        return policies.book.in_force(name) or definition


async def _turned(
    broker: Address, name: str, by: Operator, turns: Callable[[PolicyDefinition, frozenset[str]], Sequence[Switch]]
) -> PolicyDefinition:
    """Turn switches, each by a record that stands for itself; return what is in force then."""
    async with _known(broker) as policies:
        off = policies.book.switched_off(name)
        switches = turns(_find(policies.book, name), off)
        turned = {one.arm or "all arms": "off" if one.is_off else "on" for one in switches}
        before = {one.arm or "all arms": "off" if one.arm in off else "on" for one in switches}
        async with changing(broker, by, Change("switches", name, before, turned)) as outbox:
            partition = partition_for(name, await outbox.partition_count(POLICIES))
            records = [
                Record(POLICIES, partition, each.key, avro.encode("switch", each._asdict())) for each in switches
            ]
            await outbox.deliver(records)
        await policies.refresh()
        return _find(policies.book, name, is_worn=True)


def _find(book: PolicyBook, name: str, *, is_worn: bool = False) -> PolicyDefinition:
    current = book.in_force(name) if is_worn else book.latest(name)
    if current is None:
        known = ", ".join(definition.name for definition in book) or "none"
        raise ConfigError(f"policy {name}", [f"is not applied; known: {known}"])
    return current


@asynccontextmanager
async def _known(broker: Address) -> AsyncIterator[Policies]:
    policies = Policies(broker)
    try:
        await policies.start()
        yield policies
    finally:
        await policies.stop()


async def _write(
    broker: Address, by: Operator, policies: Policies, before: PolicyDefinition | None, definition: PolicyDefinition
) -> None:
    """Write a definition, and look whether it is taken: another one may have been written at the same time.

    The record that was passed over is the last one of its key, all that compaction would leave. So it is written over
    by the one that is in force.

    Raises:
        ConfigError: it was passed over, as it may not follow the other.
    """
    async with changing(broker, by, _change(before, definition)) as outbox:
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


def _change(before: PolicyDefinition | None, after: PolicyDefinition) -> Change:
    """Say what of a definition changes; its hashes say of which."""
    was, is_to_be = ({} if one is None else orjson.loads(to_canonical_json(one)) for one in (before, after))
    old, new = differing(was, is_to_be)
    if before is not None:
        old |= {"definition_hash": before.definition_hash}
    return Change("definition", after.name, old or None, new | {"definition_hash": after.definition_hash})


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


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _switched(definition: PolicyDefinition) -> str:
    switches = definition.switches
    policy_word = "killed" if switches.is_killed else "alive"
    return f"{definition.name} is {policy_word}; killed arms: {', '.join(switches.arms) or 'none'}"


async def _check_not_replayed(broker: Address, definition: PolicyDefinition) -> None:
    """Refuse to begin by hand a generation whose past a replay has counted, maybe under other rules."""
    name, generation = definition.name, definition.generation
    if await read_base(broker, name, generation) is not None:
        fault = (
            f"generation: {generation} was made by a replay, which pipeline replay promote {name} {generation} puts in "
            f"force; {generation + 1} is free"
        )
        raise ConfigError(f"policy {name}", [fault])


def _in_words(definition: PolicyDefinition) -> str:
    return (
        f"{definition.name} generation {definition.generation}, {definition.algorithm.name}, "
        f"{len(definition.active_arms)} arms, {len(definition.segments.names)} segments, "
        f"context of {definition.dimension}, {definition.definition_hash[:12]}"
        f"{', KILLED' if definition.switches.is_killed else ''}"
        f"{', killed arms: ' + ', '.join(definition.switches.arms) if definition.switches.arms else ''}"
    )
