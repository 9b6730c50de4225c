"""`pipeline forget`."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import orjson
from rich.console import Console
from rich.progress import Progress, TaskID

from pipeline.audit.record import Operator
from pipeline.cli import options
from pipeline.registry.lookup import Schemas
from pipeline.registry.settings import RegistrySettings
from pipeline.replay.erasure.forget import WORK_DIR, Forgotten, read_forgotten
from pipeline.replay.erasure.forget import forget as forget_subject
from pipeline.stream.security import Address


@click.command()
@options.broker_address
@click.argument("subject_hash", required=False)
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@click.option("--list", "is_list", is_flag=True, help="List who was forgotten, by the hash of the subject's hash.")
@click.option(
    "--timeout",
    "timeout_s",
    envvar="PIPELINE_FORGET_TIMEOUT",
    type=click.FloatRange(min=0),
    default=60.0,
    show_default=True,
    help="Seconds to wait for the worker. [PIPELINE_FORGET_TIMEOUT]",
)
@click.option(
    "--work-dir",
    envvar="PIPELINE_WORK_DIR",
    type=click.Path(path_type=Path, file_okay=False),
    default=WORK_DIR,
    show_default=True,
    help="Where replays keep what they have counted: those that counted the person are run on. [PIPELINE_WORK_DIR]",
)
@options.registry
@options.as_json
@options.audited
def forget(
    broker: Address,
    subject_hash: str | None,
    dry_run: bool,
    is_list: bool,
    timeout_s: float,
    work_dir: Path,
    registry: RegistrySettings,
    as_json: bool,
    by: Operator,
) -> None:
    """Take one person's decisions out of the statistics, exactly, and for ever.

    SUBJECT_HASH is what decisions are logged with: keyed BLAKE2b of the person's id under the nodes' --subject-salt.
    It reaches as far back as the topic `decisions` is kept. A repeat changes nothing. Replays that have counted some of
    them are run on, to the present end, until they count none.

    \b
    Example:
      pipeline forget 8f14e45fceea167a5a36dedd4bea2543 --dry-run
    """
    if is_list:
        _list(asyncio.run(read_forgotten(broker)), as_json=as_json)
        return
    if subject_hash is None:
        raise click.UsageError("which person? Give the SUBJECT_HASH, or --list")
    with Progress(console=Console(stderr=True), transient=True) as progress:
        tasks: dict[str, TaskID] = {}

        def show(what: str, done: int, total: int) -> None:
            task = tasks[what] if what in tasks else tasks.setdefault(what, progress.add_task(what))
            progress.update(task, completed=done, total=total)

        async def forget_them() -> Forgotten:
            async with Schemas(registry) as schemas:
                return await forget_subject(
                    broker,
                    subject_hash,
                    by,
                    schemas=schemas,
                    dry_run=dry_run,
                    timeout_s=timeout_s,
                    work_dir=work_dir,
                    on_progress=show,
                )

        report = asyncio.run(forget_them())
    if as_json:
        click.echo(orjson.dumps({"dry_run": dry_run, **report._asdict()}))
    else:
        click.echo(_in_words(report, dry_run=dry_run))


def _in_words(report: Forgotten, *, dry_run: bool) -> str:
    found = f"decisions found: {report.actions}"
    replays = ", ".join(report.replays)
    if dry_run:
        beside = f"; replays have counted some of them, and will be run on: {replays}" if replays else ""
        return f"{found}, of which {report.counting} count in statistics at present{beside}"
    beside = f"; run on, to count none of them: the replays {replays}" if replays else ""
    return f"{found}, all erased; {report.taken_back} had counted in statistics, and do no more{beside}"


def _list(records: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        click.echo(orjson.dumps(records))
        return
    for record in records:
        finished = datetime.fromtimestamp(record["finished_at_ms"] / 1000, UTC).strftime("%Y-%m-%d %H:%M")
        click.echo(f"{finished}  {record['subject_sha256']}  decisions: {record['actions']}")
