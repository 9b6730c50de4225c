"""What an operator may do from a page, in three steps: what would be done is shown, a word is typed, it is done.

Looking and doing are the command line's own functions, and so is the record in `audit`. What was shown is sealed: where
it is no longer what would be done, nothing is, and the new is shown.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import NamedTuple

import orjson

from pipeline.audit.record import Operator
from pipeline.cli import switching
from pipeline.cli.control import apply_policy, find_policy
from pipeline.cli.directives import read_book
from pipeline.cli.orders import Order, carry_out, order_pin, order_rollback, order_unpin
from pipeline.cli.policy import in_words
from pipeline.errors import ConfigError
from pipeline.policy.canonical import to_canonical_json
from pipeline.policy.changes import check_change
from pipeline.policy.definition import PolicyDefinition
from pipeline.policy.operations import keep_rollout, keep_switches, killing, revived, rolled_out
from pipeline.policy.parsing.parse import load_policy
from pipeline.replay.dead_letters.letters import Choice, Plan, choose, plan_replay
from pipeline.replay.dead_letters.resend import read_letters, send_back
from pipeline.replay.proof.diff import DefinitionChange, definition_changes
from pipeline.stream.security import Address

Fields = Mapping[str, str]
"""What the form says, by name."""
MAX_SHOWN_CHANGES = 200


class Shown(NamedTuple):
    """What would be done."""

    words: str
    changes: tuple[str, ...]
    """Line by line."""
    is_possible: bool
    """Whether it would change anything."""
    typed: str
    """What has to be typed before it is done."""
    seal: str
    """Of all that decides what would be done."""


class Act(NamedTuple):
    """One kind of act."""

    title: str
    command: str
    """The command line's, as `audit` has it."""
    look: Callable[[Address, str, Fields], Awaitable[Shown]]
    do: Callable[[Address, str, Fields, Operator], Awaitable[str]]
    """Returns in words what was done."""


def seal_of(*parts: object) -> str:
    """Return what changes whenever one of the parts does."""
    return hashlib.sha256(orjson.dumps([str(part) for part in parts])).hexdigest()


def change_in_words(change: DefinitionChange) -> str:
    """Say in a line what of a definition changes."""
    old, new = ("not there" if one is None else orjson.dumps(one).decode() for one in (change.before, change.after))
    return f"{change.where}: {old} → {new}"


def _shown(order: Order, *decisive: object) -> Shown:
    directive = order.directive
    seal = seal_of(directive.action, directive.policy, directive.version, order.is_needed, *decisive)
    return Shown(order.words, order.changes, order.is_needed, directive.policy, seal)


async def _look_rollback(broker: Address, policy: str, fields: Fields) -> Shown:
    order = await order_rollback(broker, policy, _version(fields))
    return _shown(order, hashlib.sha256(order.directive.content).hexdigest())


async def _do_rollback(broker: Address, policy: str, fields: Fields, by: Operator) -> str:
    return (await carry_out(broker, await order_rollback(broker, policy, _version(fields)), by)).words


async def _look_pin(broker: Address, policy: str, _: Fields) -> Shown:
    order = await order_pin(broker, policy)
    # Another version may be live by the time that it is held; that it is held is what is agreed to.
    return _shown(order._replace(directive=order.directive._replace(version=0)))


async def _do_pin(broker: Address, policy: str, _: Fields, by: Operator) -> str:
    return (await carry_out(broker, await order_pin(broker, policy), by)).words


async def _look_unpin(broker: Address, policy: str, _: Fields) -> Shown:
    return _shown(await order_unpin(broker, policy))


async def _do_unpin(broker: Address, policy: str, _: Fields, by: Operator) -> str:
    return (await carry_out(broker, await order_unpin(broker, policy), by)).words


async def _look_kill(broker: Address, policy: str, fields: Fields) -> Shown:
    current = find_policy(await read_book(broker), policy, is_worn=True)
    arms = _arms(fields)
    killing(current, arms, 0)  # an arm that is none is refused here
    off = current.switches
    is_possible = not set(arms) <= set(off.arms) if arms else not off.is_killed
    if arms:
        words = f"would switch off {', '.join(arms)} of {policy}, at once on every node, until revived"
    else:
        control = current.guardrails.control
        instead = f"its control arm {control}" if control else "any eligible arm, each as often"
        words = f"would switch off {policy}, at once on every node, until revived: nodes show {instead}"
    return Shown(words, (f"now: {switching.switched_in_words(current)}",), is_possible, policy, _seal(current, arms))


async def _do_kill(broker: Address, policy: str, fields: Fields, by: Operator) -> str:
    return switching.switched_in_words(await switching.kill(broker, policy, _arms(fields), by))


async def _look_revive(broker: Address, policy: str, fields: Fields) -> Shown:
    current = find_policy(await read_book(broker), policy, is_worn=True)
    arms = _arms(fields)
    is_possible = revived(current, arms).switches != current.switches
    what = ", ".join(arms) if arms else f"{policy} and all its arms"
    words = f"would switch on {what}, at once on every node" if is_possible else f"{what}: nothing is switched off"
    return Shown(words, (f"now: {switching.switched_in_words(current)}",), is_possible, policy, _seal(current, arms))


async def _do_revive(broker: Address, policy: str, fields: Fields, by: Operator) -> str:
    return switching.switched_in_words(await switching.revive(broker, policy, _arms(fields), by))


async def _look_rollout(broker: Address, policy: str, fields: Fields) -> Shown:
    current = find_policy(await read_book(broker), policy)
    share = _share(fields)
    after = rolled_out(current, share)
    is_possible = after.definition_hash != current.definition_hash
    now = switching.rollout_in_words(current)
    return Shown(f"would be: {switching.rollout_in_words(after)}", (f"now: {now}",), is_possible, policy, _seal(after))


async def _do_rollout(broker: Address, policy: str, fields: Fields, by: Operator) -> str:
    return switching.rollout_in_words(await switching.roll_out(broker, policy, _share(fields), None, by))


async def _look_release(broker: Address, policy: str, _: Fields) -> Shown:
    current = find_policy(await read_book(broker), policy)
    after = released(current)
    is_possible = after.definition_hash != current.definition_hash
    words = (
        f"would publish {policy} whatever its outcomes do: [monitors] label_rate hold = false"
        if is_possible
        else f"{policy} does not wait for its outcomes: hold is false"
    )
    return Shown(words, tuple(map(change_in_words, changes_of(current, after))), is_possible, policy, _seal(after))


async def _do_release(broker: Address, policy: str, _: Fields, by: Operator) -> str:
    await apply_policy(broker, released(find_policy(await read_book(broker), policy)), by)
    return f"{policy} is published again; to have it wait another time, apply hold = true"


def released(definition: PolicyDefinition) -> PolicyDefinition:
    """Return the policy that does not wait for outcomes to be as they were."""
    rule = replace(definition.monitors.label_rate, holds=False)
    return replace(definition, monitors=replace(definition.monitors, label_rate=rule))


async def _look_apply(broker: Address, policy: str, fields: Fields) -> Shown:
    definition, current = await proposed(broker, policy, fields.get("text", ""))
    if current is None:
        words = f"would apply a new policy: {in_words(definition)}"
        return Shown(words, (), is_possible=True, typed=definition.name, seal=_seal(definition))
    changes = tuple(map(change_in_words, changes_of(current, definition)))
    words = f"would apply: {in_words(definition)}" if changes else f"already in force: {in_words(current)}"
    return Shown(
        words, changes[:MAX_SHOWN_CHANGES], bool(changes), definition.name, seal_of(_seal(definition), _seal(current))
    )


async def _do_apply(broker: Address, policy: str, fields: Fields, by: Operator) -> str:
    definition = _named(load_policy(fields.get("text", ""), "the text"), policy)
    applied = await apply_policy(broker, definition, by)
    words = f"{'applied' if applied.is_new else 'already in force'}: {in_words(definition)}"
    return "; ".join((words, *applied.kept))


async def proposed(broker: Address, policy: str, text: str) -> tuple[PolicyDefinition, PolicyDefinition | None]:
    """Return a text's definition as it would be applied, and the one in force.

    Raises:
        ConfigError: the text is no policy, or may not follow the one in force; with every fault.
    """
    definition = _named(load_policy(text, "the text"), policy)
    current = (await read_book(broker)).latest(definition.name)
    if current is None:
        return definition, None
    definition, _ = keep_rollout(current, keep_switches(current, definition))
    check_change(current, definition)
    return definition, current


def changes_of(before: PolicyDefinition, after: PolicyDefinition) -> list[DefinitionChange]:
    """Return in what two definitions differ."""
    old, new = (orjson.loads(to_canonical_json(one)) for one in (before, after))
    return list(definition_changes(old, new))


async def letters_plan(broker: Address, fields: Fields) -> Plan:
    """Return which dead letters would be sent back."""
    choice = Choice(reason=fields.get("reason") or None, source=fields.get("source") or None)
    return plan_replay(choose((await read_letters(broker)).letters, choice), again=False)


async def _look_letters(broker: Address, _: str, fields: Fields) -> Shown:
    plan = await letters_plan(broker, fields)
    count = len(plan.to_send)
    words = f"would send {count:,} dead letters back to their topics, bytes unchanged"
    changes = (
        f"reason: {fields.get('reason') or 'any'}",
        f"sent before, and passed over: {len(plan.already_replayed):,}",
        f"not to be sent (without bytes, or of a topic that is no source): {len(plan.unsendable):,}",
    )
    return Shown(words, changes, count > 0, f"send {count}", seal_of(*(letter.source for letter in plan.to_send)))


async def _do_letters(broker: Address, _: str, fields: Fields, by: Operator) -> str:
    plan = await letters_plan(broker, fields)
    unsent = await send_back(broker, plan.to_send, by, time.time_ns() // 1_000_000)
    words = f"sent back: {len(plan.to_send) - len(unsent):,}"
    return words + "".join(f"; not sent: {one.source}: {one.why}" for one in unsent[:10])


ACTS: Mapping[str, Act] = {
    "rollback": Act("Roll back", "snapshot rollback", _look_rollback, _do_rollback),
    "pin": Act("Hold the present version", "snapshot pin", _look_pin, _do_pin),
    "unpin": Act("Publish again", "snapshot unpin", _look_unpin, _do_unpin),
    "kill": Act("Switch off", "policy kill", _look_kill, _do_kill),
    "revive": Act("Switch on", "policy revive", _look_revive, _do_revive),
    "rollout": Act("Show to another share", "policy rollout", _look_rollout, _do_rollout),
    "release": Act("Publish though outcomes are not as they were", "policy apply", _look_release, _do_release),
    "apply": Act("Apply", "policy apply", _look_apply, _do_apply),
    "letters": Act("Send dead letters again", "dead-letters replay", _look_letters, _do_letters),
}


def _named(definition: PolicyDefinition, policy: str) -> PolicyDefinition:
    """Refuse a text of another policy than the page is of; an empty name is of none."""
    if policy and definition.name != policy:
        raise ConfigError("the text", [f"name: {definition.name!r}, and this is the page of {policy!r}"])
    return definition


def _arms(fields: Fields) -> tuple[str, ...]:
    return (fields["arm"],) if fields.get("arm") else ()


def _version(fields: Fields) -> int:
    text = fields.get("to", "")
    if not text.isdecimal() or int(text) < 1:
        raise ConfigError("rollback", [f"to: {text[:40]!r} is no version, such as 7"])
    return int(text)


def _share(fields: Fields) -> float:
    text = fields.get("share", "")
    try:
        percent = float(text)
    except ValueError:
        percent = -1.0
    if not 0.0 <= percent <= 100.0:
        raise ConfigError("rollout", [f"share: {text[:40]!r} is no percentage from 0 to 100"])
    return percent / 100.0


def _seal(definition: PolicyDefinition, *others: object) -> str:
    return seal_of(definition.definition_hash, definition.switches, *others)
