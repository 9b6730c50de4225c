"""`pipeline snapshot rollback`, `pin` and `unpin`."""

from __future__ import annotations

import asyncio
import time

import click
import orjson

from pipeline.audit.record import Operator
from pipeline.cli import options
from pipeline.cli.changes import in_words
from pipeline.cli.directives import give, is_held, read_book
from pipeline.cli.snapshots import find_published, find_snapshot
from pipeline.errors import ConfigError
from pipeline.policy.directive import PIN, ROLLBACK, UNPIN, Directive, next_number
from pipeline.replay.proof.diff import diff_snapshots
from pipeline.serve.following.snapshot import load_snapshot
from pipeline.stream.security import Address

policy_name = click.argument("policy_name", metavar="POLICY")
dry_run_flag = click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")


@click.command()
@options.broker_address
@policy_name
@click.option("--to", "version", type=click.IntRange(1), required=True, help="The version to go back to.")
@dry_run_flag
@options.as_json
@options.audited
def rollback(broker: Address, policy_name: str, version: int, dry_run: bool, as_json: bool, by: Operator) -> None:
    """Publish an old version's content again, under a new version, and hold it until `unpin`.

    Everything in it is the old one, its definition too: arms that were added since are not on offer, arms that were
    retired since are. Learning goes on beside it.

    \b
    Example:
      pipeline snapshot rollback homepage --to 41 --dry-run
    """
    found = asyncio.run(find_snapshot(broker, policy_name, version))
    load_snapshot(found.content)  # what serving nodes would refuse is refused here
    live = asyncio.run(find_snapshot(broker, policy_name, None)).fields
    last = _last_directive(broker, policy_name)
    directive = Directive(policy_name, _number(last), ROLLBACK, version, found.content.record)
    if _is_repeat(directive, last) and live["rollback_of"] == version:
        _say(as_json, directive, f"{policy_name} is rolled back to version {version} already")
        return
    changes = diff_snapshots(live, found.fields)
    words = "\n  ".join([f"from version {live['version']} to {version}:", *in_words(changes)])
    if dry_run:
        told = f"would publish the content of version {version} of {policy_name} again, and hold it"
        _say(as_json, directive, f"{told}\n{words}")
        return
    published = asyncio.run(give(broker, directive, by, found.content.parts))
    told = f"{policy_name} version {published} is the content of version {version}, and is held until `unpin`"
    _say(as_json, directive, f"{told}\n{words}", is_given=True, published_version=published)


@click.command()
@options.broker_address
@policy_name
@dry_run_flag
@options.as_json
@options.audited
def pin(broker: Address, policy_name: str, dry_run: bool, as_json: bool, by: Operator) -> None:
    """Hold the present version until `unpin`; learning goes on beside it.

    A version that is published in the same moment is the one that is held; `snapshot list` shows which.

    \b
    Example:
      pipeline snapshot pin homepage
    """
    version = asyncio.run(find_published(broker, policy_name, None)).fields["version"]
    last = _last_directive(broker, policy_name)
    directive = Directive(policy_name, _number(last), PIN, version)
    if is_held(last):
        _say(as_json, directive, f"{policy_name} is held already, at version {version}")
    elif dry_run:
        _say(as_json, directive, f"would hold {policy_name} at version {version}")
    else:
        asyncio.run(give(broker, directive, by))
        _say(as_json, directive, f"{policy_name} is held at version {version} until `unpin`", is_given=True)


@click.command()
@options.broker_address
@policy_name
@dry_run_flag
@options.as_json
@options.audited
def unpin(broker: Address, policy_name: str, dry_run: bool, as_json: bool, by: Operator) -> None:
    """Publish what was learned meanwhile, at once, and go on publishing.

    \b
    Example:
      pipeline snapshot unpin homepage
    """
    last = _last_directive(broker, policy_name)
    directive = Directive(policy_name, _number(last), UNPIN)
    if not is_held(last):
        _say(as_json, directive, f"{policy_name} is not held: there is nothing to undo")
    elif dry_run:
        _say(as_json, directive, f"would publish what {policy_name} has learned, and go on")
    else:
        published = asyncio.run(give(broker, directive, by))
        told = f"{policy_name} version {published} is what was learned meanwhile; nothing is held any more"
        _say(as_json, directive, told, is_given=True, published_version=published)


def _last_directive(broker: Address, policy_name: str) -> Directive | None:
    book = asyncio.run(read_book(broker))
    if book.latest(policy_name) is None:
        known = sorted(definition.name for definition in book)
        raise ConfigError("policy", [f"{policy_name!r} is not applied; policies that are: {known or 'none'}"])
    return book.directive(policy_name)


def _number(last: Directive | None) -> int:
    return next_number(last, round(time.time() * 1000))


def _is_repeat(directive: Directive, last: Directive | None) -> bool:
    return last is not None and (last.action, last.version) == (directive.action, directive.version)


def _say(
    as_json: bool, directive: Directive, words: str, *, is_given: bool = False, published_version: int | None = None
) -> None:
    fields = {
        "policy": directive.policy,
        "action": directive.action,
        "version": directive.version or None,
        "is_given": is_given,
        "published_version": published_version,
    }
    click.echo(orjson.dumps(fields) if as_json else words)
