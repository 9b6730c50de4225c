"""Orders about a policy's snapshots: what each would do, in words, and doing it. For whoever lets people order it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import NamedTuple

from pipeline.audit.record import Operator
from pipeline.cli.changes import in_words
from pipeline.cli.directives import give, read_book
from pipeline.cli.snapshots import find_published, find_snapshot, find_whole
from pipeline.errors import ConfigError
from pipeline.policy.directive import PIN, ROLLBACK, UNPIN, Directive, is_held, next_number, number_of
from pipeline.replay.proof.diff import diff_snapshots
from pipeline.serve.following.snapshot import load_snapshot
from pipeline.stream.security import Address


class Order(NamedTuple):
    """What was ordered, looked at and not yet given."""

    directive: Directive
    words: str
    """What giving it would do; where it is not needed, why."""
    is_needed: bool = True
    """Whether it would change anything."""
    parts: Mapping[str, bytes] = {}
    """What the content of a rollback names."""
    changes: tuple[str, ...] = ()
    """Of a rollback: what differs between the live version and the old one."""


class Given(NamedTuple):
    """An order that was given."""

    words: str
    published_version: int | None
    """Of a pin: None."""


async def order_rollback(broker: Address, policy: str, version: int) -> Order:
    """Look at what going back to a version would do.

    Raises:
        ConfigError: there is no such policy or version. StateError: nodes would refuse it.
    """
    found = await find_whole(broker, policy, version)
    load_snapshot(found.content)  # what serving nodes would refuse is refused here
    live = (await find_snapshot(broker, policy, None)).fields
    last = await _last_directive(broker, policy)
    directive = Directive(policy, _number(last), ROLLBACK, version, found.content.record, number_of(last))
    if _is_repeat(directive, last) and live["rollback_of"] == version:
        return Order(directive, f"{policy} is rolled back to version {version} already", is_needed=False)
    changes = (f"from version {live['version']} to {version}:", *in_words(diff_snapshots(live, found.fields)))
    words = f"would publish the content of version {version} of {policy} again, and hold it"
    return Order(directive, words, parts=found.content.parts, changes=changes)


async def order_pin(broker: Address, policy: str) -> Order:
    """Look at what holding the present version would do. Raises ConfigError: nothing is published or applied."""
    version = (await find_published(broker, policy, None)).fields["version"]
    last = await _last_directive(broker, policy)
    directive = Directive(policy, _number(last), PIN, version, follows=number_of(last))
    if is_held(last):
        return Order(directive, f"{policy} is held already, at version {version}", is_needed=False)
    return Order(directive, f"would hold {policy} at version {version}")


async def order_unpin(broker: Address, policy: str) -> Order:
    """Look at what going on would do. Raises ConfigError: it is not applied."""
    last = await _last_directive(broker, policy)
    directive = Directive(policy, _number(last), UNPIN, follows=number_of(last))
    if not is_held(last):
        return Order(directive, f"{policy} is not held: there is nothing to undo", is_needed=False)
    return Order(directive, f"would publish what {policy} has learned, and go on")


async def carry_out(broker: Address, order: Order, by: Operator) -> Given:
    """Give an order.

    Raises:
        ConfigError: its content can't be published. UnavailableError: no worker has acted on it yet.
    """
    directive = order.directive
    published = await give(broker, directive, by, order.parts)
    policy, version = directive.policy, directive.version
    match directive.action:
        case "rollback":
            words = f"{policy} version {published} is the content of version {version}, and is held until `unpin`"
        case "pin":
            words = f"{policy} is held at version {version} until `unpin`"
        case _:
            words = f"{policy} version {published} is what was learned meanwhile; nothing is held any more"
    return Given(words, published)


async def _last_directive(broker: Address, policy: str) -> Directive | None:
    book = await read_book(broker)
    if book.latest(policy) is None:
        known = sorted(definition.name for definition in book)
        raise ConfigError("policy", [f"{policy!r} is not applied; policies that are: {known or 'none'}"])
    return book.directive(policy)


def _number(last: Directive | None) -> int:
    return next_number(last, round(time.time() * 1000))


def _is_repeat(directive: Directive, last: Directive | None) -> bool:
    return last is not None and (last.action, last.version) == (directive.action, directive.version)
