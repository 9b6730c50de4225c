"""`pipeline replay`."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import orjson
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from pipeline.audit.record import Operator
from pipeline.cli import changes, options
from pipeline.cli.control import find_policy, promote_replay
from pipeline.cli.directives import read_book
from pipeline.cli.snapshots import find_snapshot
from pipeline.errors import ConfigError
from pipeline.policy.directive import is_held
from pipeline.policy.parsing.parse import load_policy
from pipeline.registry.lookup import Schemas
from pipeline.registry.settings import RegistrySettings
from pipeline.replay.backfill.fates import told_of
from pipeline.replay.promote import preview, wait_until_published, wait_until_taken_in
from pipeline.replay.recounting.base import FoundBase
from pipeline.replay.recounting.journal import Journal
from pipeline.replay.recounting.plan import plan_from_json, promoted
from pipeline.replay.recounting.rebuild import Rebuilt
from pipeline.replay.recounting.run import Request, Where, read_base
from pipeline.replay.recounting.run import replay as run_replay
from pipeline.stream.security import Address

TAKEN_IN_WITHIN_S = 60.0
PUBLISHED_WITHIN_S = 30.0


class Place(click.ParamType):
    """A place in the log: a time, `start`, `end`, or offsets."""

    name = "place"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Where:
        """Return epoch milliseconds, or the text."""
        text = str(value)
        if text in ("start", "end") or "=" in text:
            return text
        return options.Moment().convert(value, param, ctx)


@click.group(invoke_without_command=True)
@options.broker_address
@click.option("--policy", "policy_name", help="The policy whose past is counted again.")
@click.option("--into", type=click.IntRange(2), metavar="GENERATION", help="The generation to make.")
@click.option(
    "--from",
    "start",
    type=Place(),
    metavar="OFFSETS|TIME",
    help="Where to begin: the broker's time (ISO, or epoch ms), offsets such as decisions/0=120,outcomes/0=80 (others "
    "0), or `start` of what is kept. Offset 0 if not given.",
)
@click.option(
    "--to",
    "end",
    type=Place(),
    metavar="OFFSETS|TIME",
    help="Where to stop, as in --from; others, and all if not given: the present end.",
)
@click.option(
    "--definition",
    "definition_file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="What is counted by, a policy file; the definition in force if not given.",
)
@click.option(
    "--ledger", is_flag=True, help="Weigh the ledger's credits again instead of joining decisions and outcomes."
)
@click.option(
    "--work-dir",
    envvar="PIPELINE_WORK_DIR",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("var/replay"),
    show_default=True,
    help="Where a replay keeps what it has counted, to go on after an interruption. [PIPELINE_WORK_DIR]",
)
@options.registry
@options.as_json
@options.audited
@click.pass_context
def replay(
    ctx: click.Context,
    broker: Address,
    policy_name: str | None,
    into: int | None,
    start: Where | None,
    end: Where | None,
    definition_file: Path | None,
    ledger: bool,
    work_dir: Path,
    registry: RegistrySettings,
    as_json: bool,
    by: Operator,
) -> None:
    """Count a policy's past again, into a new generation beside the live one.

    Under another definition this changes windows, worths, how outcomes combine, or bounds. Meanwhile learning and
    publishing go on; `pipeline replay promote` puts the new generation in force. Stopped and started again, a replay
    goes on; when it is done, the same command catches up with what came meanwhile, before and after promoting.

    \b
    Example:
      pipeline replay --policy homepage --into 2 --definition longer-window.toml
      pipeline replay promote homepage 2 --dry-run
      pipeline replay promote homepage 2
    """
    if ctx.invoked_subcommand is not None:
        return
    if policy_name is None or into is None:
        raise click.UsageError("--policy and --into are needed, or the command promote")
    definition = None
    if definition_file is not None:
        definition = load_policy(definition_file.read_text(encoding="utf-8"), str(definition_file))
    request = Request(
        policy_name,
        into,
        work_dir / f"{policy_name}-{into}",
        start,
        end,
        definition,
        "ledger" if ledger else "events",
        schemas=Schemas(registry),
    )
    journal, rebuilt = asyncio.run(_replay(broker, request, by))
    if as_json:
        click.echo(orjson.dumps(_summary(journal, rebuilt)))
    else:
        click.echo(_in_words(journal, rebuilt))


@replay.command()
@options.broker_address
@options.app_id
@click.argument("policy_name", metavar="POLICY")
@click.argument("generation", type=click.IntRange(2))
@click.option("--dry-run", is_flag=True, help="Say what would change, and change nothing.")
@options.as_json
@options.audited
def promote(
    broker: Address, app_id: str, policy_name: str, generation: int, dry_run: bool, as_json: bool, by: Operator
) -> None:
    """Put a replayed generation in force: the next snapshot is its own.

    Statistics are those that the replay has counted; everything else is as it is in force now, but for what the
    replay's --definition changed. What was edited meanwhile stays, or it is said why not and what to do.

    \b
    Example:
      pipeline replay promote homepage 2 --dry-run
    """
    found = asyncio.run(_found(broker, policy_name, generation))
    if dry_run:
        _show_preview(broker, found, as_json=as_json)
        return
    done = asyncio.run(_promote(broker, app_id, found, by))
    if as_json:
        click.echo(orjson.dumps({"policy": policy_name, "generation": generation, **done}))
    elif not done["is_new"]:
        click.echo(f"already in force: {policy_name} generation {generation}")
    elif done["is_held"]:
        click.echo(
            f"promoted: {policy_name} generation {generation}, published after pipeline snapshot unpin {policy_name}"
        )
    elif done["version"] is None:
        click.echo(f"promoted: {policy_name} generation {generation}; not published yet: is a worker running?")
    else:
        click.echo(f"promoted: {policy_name} version {done['version']} is of generation {generation}")


async def _replay(broker: Address, request: Request, by: Operator) -> tuple[Journal, Rebuilt]:
    schemas = request.schemas or Schemas()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    async with schemas:
        with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task("replaying", total=None)
            return await run_replay(
                broker, request, by, lambda done, total: progress.update(task, completed=done, total=total)
            )


async def _found(broker: Address, policy: str, generation: int) -> FoundBase:
    found = await read_base(broker, policy, generation)
    if found is None:
        raise ConfigError(
            f"generation {generation} of {policy}",
            [f"no replay has made it: pipeline replay --policy {policy} --into {generation}"],
        )
    return found


async def _promote(broker: Address, app_id: str, found: FoundBase, by: Operator) -> dict[str, Any]:
    plan = plan_from_json(found.base.plan)
    name, generation = plan.definition.name, plan.definition.generation
    # Before the policy says so: the publisher must not switch to a generation of which it holds a part.
    await wait_until_taken_in(broker, app_id, name, found, TAKEN_IN_WITHIN_S)
    is_new = await promote_replay(broker, plan, by)
    held = is_held((await read_book(broker)).directive(name))
    version = None if held else await wait_until_published(broker, name, generation, PUBLISHED_WITHIN_S)
    return {"version": version, "is_new": is_new, "is_held": held}


def _show_preview(broker: Address, found: FoundBase, *, as_json: bool) -> None:
    plan = plan_from_json(found.base.plan)
    book = asyncio.run(read_book(broker))
    definition = promoted(plan, find_policy(book, plan.definition.name))
    live = asyncio.run(find_snapshot(broker, definition.name, None))
    difference = preview(live.fields, live.id, found, definition)
    if as_json:
        click.echo(
            orjson.dumps({"policy": definition.name, "generation": definition.generation, **difference.to_plain()})
        )
        return
    click.echo(f"{definition.name}: what is published → generation {definition.generation}")
    for line in changes.in_words(difference._replace(offsets=[])):
        if not line.startswith("ledger"):
            click.echo(line)
    if difference.counts:
        Console().print(changes.count_table(difference))


def _summary(journal: Journal, rebuilt: Rebuilt) -> dict[str, Any]:
    plan = journal.plan
    return {
        "policy": plan.definition.name,
        "generation": plan.definition.generation,
        "source": plan.source,
        "generations": list(plan.generations),
        "from": {topic: _by_name(offsets) for topic, offsets in journal.cuts[0].items()},
        "to": {topic: _by_name(offsets) for topic, offsets in journal.cuts[-1].items()},
        "counted": sum(row.n for row in rebuilt.rows.values()),
        "rows": len(rebuilt.rows),
        "open": rebuilt.open.decisions,
        "open_until_ms": rebuilt.open.until_ms,
        "event_time_ms": rebuilt.event_time_ms,
        **({"history": told_of(rebuilt.loaded)} if plan.has_history else {}),
    }


def _by_name(offsets: Any) -> dict[str, int]:
    return {str(number): offset for number, offset in offsets.items()}


def _in_words(journal: Journal, rebuilt: Rebuilt) -> str:
    name, generation = journal.plan.definition.name, journal.plan.definition.generation
    counted = sum(row.n for row in rebuilt.rows.values())
    lines = [f"replayed: {name} generation {generation} counts {counted:,} decisions in {len(rebuilt.rows):,} rows"]
    if rebuilt.open.decisions:
        until = datetime.fromtimestamp(rebuilt.open.until_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
        lines.append(
            f"{rebuilt.open.decisions:,} of its decisions may still earn credit, the last until {until} UTC, as may "
            "those made until it is promoted: the same command catches up"
        )
    lines.append(f"next: pipeline replay promote {name} {generation} --dry-run")
    return "\n".join(lines)
