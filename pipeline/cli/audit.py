"""`pipeline audit`."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import click
import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.audit.entry import Audit, latest_of_each
from pipeline.audit.read import read_audits
from pipeline.cli import options
from pipeline.stream.security import Address

SHOWN_CHARACTERS = 120


@click.group()
def audit() -> None:
    """What operators did: who, when, by which command, what was before and after."""


@audit.command(name="list")
@options.broker_address
@click.option("--policy", "policy_name", help="Only what concerns this policy.")
@click.option("--since", "since_ms", type=options.Moment(), help="Only from then on: ISO time or epoch ms.")
@click.option("--last", type=click.IntRange(1), metavar="N", help="Only so many of the newest.")
@options.as_json
def list_audits(
    broker: Address, policy_name: str | None, since_ms: int | None, last: int | None, as_json: bool
) -> None:
    """List what operators did, oldest first. What stands as `asked` is on its way, or was interrupted.

    \b
    Example:
      pipeline audit list --policy homepage --since 2026-11-30 --json
    """
    found = asyncio.run(read_audits(broker))
    chosen = [
        one
        for one in latest_of_each(found)
        if policy_name in (None, one.policy) and (since_ms is None or one.at_ms >= since_ms)
    ]
    chosen = chosen[-last:] if last else chosen
    if as_json:
        click.echo(orjson.dumps([_plain(one) for one in chosen]))
        return
    table = Table("time (UTC)", "who", "command", "what", "before → after", "")
    for one in chosen:
        words = f"{one.before} → {one.after}"
        shown = words if len(words) <= SHOWN_CHARACTERS else f"{words[:SHOWN_CHARACTERS]} …"
        table.add_row(
            datetime.fromtimestamp(one.at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S"),
            # Text, since what others wrote may have brackets, which rich would take for its markup.
            *map(Text, (one.actor, one.command, f"{one.policy} {one.target}".strip(), shown)),
            Text(f"{one.state}: {one.error}" if one.error else one.state),
        )
    Console().print(table)


def _plain(one: Audit) -> dict[str, Any]:
    return one._asdict() | {"before": orjson.loads(one.before), "after": orjson.loads(one.after)}
