"""`pipeline backfill`."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click
import orjson
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from pipeline.audit.record import Operator
from pipeline.cli import options
from pipeline.cli.control import find_policy
from pipeline.cli.directives import read_book
from pipeline.policy.definition import PolicyDefinition
from pipeline.replay.backfill.run import Backfilled
from pipeline.replay.backfill.run import backfill as run_backfill
from pipeline.stream.security import Address

a_file = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.command()
@options.broker_address
@click.argument("policy_name", metavar="POLICY")
@click.option(
    "--decisions",
    envvar="PIPELINE_BACKFILL_DECISIONS",
    type=a_file,
    help="JSON lines, each a decision as producers send it; in any order. [PIPELINE_BACKFILL_DECISIONS]",
)
@click.option(
    "--outcomes",
    envvar="PIPELINE_BACKFILL_OUTCOMES",
    type=a_file,
    help="JSON lines, each an outcome; in any order. [PIPELINE_BACKFILL_OUTCOMES]",
)
@click.option("--dry-run", is_flag=True, help="Read and join it all, say what it comes to, and send nothing.")
@options.as_json
@options.audited
def backfill(
    broker: Address,
    policy_name: str,
    decisions: Path | None,
    outcomes: Path | None,
    dry_run: bool,
    as_json: bool,
    by: Operator,
) -> None:
    """Load a policy's history, months of decisions and outcomes, beside live traffic.

    It goes into topics of its own, by event time, and moves no live window. `pipeline replay` then counts it with all
    else into a new generation, and `pipeline replay promote` puts that in force. A repeat sends what is not there.

    \b
    Example:
      pipeline backfill homepage --decisions decisions.jsonl --outcomes outcomes.jsonl --dry-run
      pipeline backfill homepage --decisions decisions.jsonl --outcomes outcomes.jsonl
      pipeline replay --policy homepage --into 2
      pipeline replay promote homepage 2
    """
    if decisions is None and outcomes is None:
        raise click.UsageError("--decisions or --outcomes is needed, or both")
    definition = find_policy(asyncio.run(read_book(broker)), policy_name)
    found = asyncio.run(_run(broker, definition, decisions, outcomes, by, dry_run=dry_run))
    if as_json:
        fields = {
            "policy": found.policy,
            "is_dry_run": dry_run,
            "taken": found.taken,
            "already_there": found.already_there,
            "refused": dict(found.refused.counts),
            "refused_lines": found.refused.told,
            "history": found.history,
            "from_ms": found.from_ms,
            "until_ms": found.until_ms,
        }
        click.echo(orjson.dumps(fields))
        return
    click.echo("\n".join(_in_words(found, definition.generation + 1, dry_run=dry_run)))
    for words in found.refused.told:
        click.echo(f"! {words}", err=True)


async def _run(
    broker: Address,
    definition: PolicyDefinition,
    decisions: Path | None,
    outcomes: Path | None,
    by: Operator,
    *,
    dry_run: bool,
) -> Backfilled:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("loading", total=None)
        return await run_backfill(
            broker,
            definition,
            {"decision": decisions, "outcome": outcomes},
            by,
            dry_run=dry_run,
            on_progress=lambda what, done, total: progress.update(task, description=what, completed=done, total=total),
        )


def _in_words(found: Backfilled, into: int, *, dry_run: bool) -> list[str]:
    taken, verb = found.taken, "would be loaded" if dry_run else "loaded"
    history = ", ".join(f"{count:,} {word}" for word, count in found.history.items()) or "nothing"
    lines = [f"{verb}: {taken['decisions']:,} decisions and {taken['outcomes']:,} outcomes of {found.policy}"]
    if found.already_there:
        lines.append(f"loaded before: {found.already_there:,}")
    if found.refused.counts:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in found.refused.counts.items())
        lines.append(f"refused lines: {reasons}")
    lines.append(f"its history, joined: {history}")
    if not dry_run:
        lines.append(f"next: pipeline replay --policy {found.policy} --into {into}")
    return lines
