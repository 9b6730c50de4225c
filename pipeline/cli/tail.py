"""`pipeline tail`."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import click
import orjson

from pipeline.cli import options
from pipeline.producers.tail import tail as follow
from pipeline.producers.told import line
from pipeline.registry.lookup import Schemas
from pipeline.registry.settings import RegistrySettings
from pipeline.stream.security import Address

KINDS = ("decision", "outcome", "refused", "counted", "credited", "settled", "erased", "unreadable")


@click.command()
@options.broker_address
@click.option("--policy", help="Only of this policy: its decisions, what is credited to it, what was refused of it.")
@click.option("--action-id", help="Only of this action.")
@click.option("--only", type=click.Choice(KINDS), multiple=True, help="Only lines of this kind; may be given again.")
@click.option("--count", type=click.IntRange(1), metavar="N", help="Stop after so many lines; else go on until Ctrl-C.")
@options.registry
@options.as_json
def tail(
    broker: Address,
    policy: str | None,
    action_id: str | None,
    only: tuple[str, ...],
    count: int | None,
    registry: RegistrySettings,
    as_json: bool,
) -> None:
    """Show live what comes, what is refused and why, and what is credited to what.

    Decisions and outcomes are told as they come; what was credited and refused, as a worker says so in the ledger and
    in `dead-letters`. Nothing is committed: any number may look at once.

    \b
    Example:
      pipeline tail --policy homepage
      pipeline tail --only refused --json
    """

    async def show() -> None:
        left = count
        async with Schemas(registry) as schemas, aclosing(follow(broker, schemas)) as found:
            async for told in found:
                if (
                    (policy and told.policy != policy)
                    or (action_id and told.action_id != action_id)
                    or (only and told.what not in only)
                ):
                    continue
                click.echo(orjson.dumps(told._asdict()) if as_json else line(told))
                left = None if left is None else left - 1
                if left == 0:
                    return

    asyncio.run(show())
