"""`pipeline snapshot rollback`, `pin` and `unpin`."""

from __future__ import annotations

import asyncio

import click
import orjson

from pipeline.audit.record import Operator
from pipeline.cli import options
from pipeline.cli.orders import Order, carry_out, order_pin, order_rollback, order_unpin
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
    _order(broker, asyncio.run(order_rollback(broker, policy_name, version)), by, dry_run=dry_run, as_json=as_json)


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
    _order(broker, asyncio.run(order_pin(broker, policy_name)), by, dry_run=dry_run, as_json=as_json)


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
    _order(broker, asyncio.run(order_unpin(broker, policy_name)), by, dry_run=dry_run, as_json=as_json)


def _order(broker: Address, order: Order, by: Operator, *, dry_run: bool, as_json: bool) -> None:
    """Give an order, unless it is not needed or only looked at, and say what came of it."""
    given = None if dry_run or not order.is_needed else asyncio.run(carry_out(broker, order, by))
    if as_json:
        directive = order.directive
        fields = {
            "policy": directive.policy,
            "action": directive.action,
            "version": directive.version or None,
            "is_given": given is not None,
            "published_version": None if given is None else given.published_version,
        }
        click.echo(orjson.dumps(fields))
    else:
        click.echo("\n  ".join([order.words if given is None else given.words, *order.changes]))
