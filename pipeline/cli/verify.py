"""`pipeline verify`."""

from __future__ import annotations

import asyncio
import sys

import click
import orjson
from rich.console import Console
from rich.progress import Progress

from pipeline.cli import options
from pipeline.cli.snapshots import find_snapshot
from pipeline.replay.verify import Verdict, verify_snapshot


@click.command()
@options.broker_address
@click.option("--policy", "policy_name", required=True, help="The policy whose snapshot is verified.")
@click.option("--version", type=click.IntRange(1), help="Which version; the latest if not given.")
@options.as_json
def verify(broker: str, policy_name: str, version: int | None, as_json: bool) -> None:
    """Fold the ledger afresh and compare with a published snapshot.

    Exit code 0: equal. 1: different, and the first difference is named.

    \b
    Example:
      pipeline verify --broker 127.0.0.1:9092 --policy homepage
    """
    verdict = asyncio.run(_verify(broker, policy_name, version))
    if as_json:
        difference = verdict.difference._asdict() if verdict.difference else None
        fields = {**verdict._asdict(), "equal": difference is None, "difference": difference}
        click.echo(orjson.dumps(fields))
    else:
        click.echo(_in_words(verdict))
    sys.exit(0 if verdict.difference is None else 1)


async def _verify(broker: str, policy_name: str, version: int | None) -> Verdict:
    content = await find_snapshot(broker, policy_name, version)
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("folding the ledger", total=None)
        return await verify_snapshot(
            broker, content, on_progress=lambda done, total: progress.update(task, completed=done, total=total)
        )


def _in_words(verdict: Verdict) -> str:
    name = f"{verdict.policy} version {verdict.version} ({verdict.id[:12]})"
    if verdict.difference is None:
        return f"equal: {name} is the fold of {verdict.ledger_records} ledger records, {verdict.posterior_sha256}"
    difference = verdict.difference
    return (
        f"different: {name} is not the fold of its {verdict.ledger_records} ledger records\n"
        f"  first difference: {difference.where}\n"
        f"    published:  {difference.published}\n"
        f"    recomputed: {difference.recomputed}\n"
        "  Either the ledger was altered or the snapshot was: compare another version with --version"
    )
