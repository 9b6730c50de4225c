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
from pipeline.replay.erasure.person import Person, person_of
from pipeline.serve.subject import hash_subject, parse_salts
from pipeline.stream.security import Address


@click.command()
@options.broker_address
@click.argument("subject_hash", required=False)
@click.option(
    "--user",
    help="The person's id as callers send it, in place of its hash; `-` reads it from standard input, so that it "
    "does not stand in `ps`. What was refused is searched for it too.",
)
@click.option(
    "--salt-file",
    "salt_file",
    envvar="PIPELINE_SUBJECT_SALT_FILE",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="With --user: the nodes' file of salts; the person is found under each. [PIPELINE_SUBJECT_SALT_FILE]",
)
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
    user: str | None,
    salt_file: Path | None,
    dry_run: bool,
    is_list: bool,
    timeout_s: float,
    work_dir: Path,
    registry: RegistrySettings,
    as_json: bool,
    by: Operator,
) -> None:
    """Take one person's decisions out of the statistics, exactly, and for ever.

    SUBJECT_HASH is what decisions are logged with: keyed BLAKE2b of the person's id under the nodes' salt; --user
    computes it. It reaches as far back as the topic `decisions` is kept. A repeat changes nothing. Replays that have
    counted some of them are run on, to the present end, until they count none. Refused records that name the person, or
    an action of theirs, are taken from `dead-letters`.

    \b
    Example:
      pipeline forget 8f14e45fceea167a5a36dedd4bea2543 --dry-run
      echo 'customer-4711' | pipeline forget --user - --salt-file /etc/pipeline/subject-salts
    """
    if is_list:
        _list(asyncio.run(read_forgotten(broker)), as_json=as_json)
        return
    person = _person(subject_hash, user, salt_file)
    with Progress(console=Console(stderr=True), transient=True) as progress:
        tasks: dict[str, TaskID] = {}

        def show(what: str, done: int, total: int) -> None:
            task = tasks[what] if what in tasks else tasks.setdefault(what, progress.add_task(what))
            progress.update(task, completed=done, total=total)

        async def forget_them() -> Forgotten:
            async with Schemas(registry) as schemas:
                return await forget_subject(
                    broker,
                    person,
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


def _person(subject_hash: str | None, user: str | None, salt_file: Path | None) -> Person:
    if (subject_hash is None) == (user is None):
        raise click.UsageError("which person? Give the SUBJECT_HASH, or --user with --salt-file, or --list")
    if user is None:
        return person_of((subject_hash or "",))
    if salt_file is None:
        raise click.UsageError("--user needs --salt-file, the nodes' file of salts: without it nobody has a hash")
    name = click.get_text_stream("stdin").readline().rstrip("\r\n") if user == "-" else user
    if not name:
        raise click.UsageError("--user is empty")
    salts = parse_salts(salt_file.read_text("utf-8"), str(salt_file))
    return person_of(tuple(hash_subject(name, salt) for salt in salts), name)


def _in_words(report: Forgotten, *, dry_run: bool) -> str:
    found = f"decisions found: {report.actions}"
    replays = ", ".join(report.replays)
    letters = f"; dead letters that name them: {report.dead_letters}" if report.dead_letters else ""
    if dry_run:
        beside = f"; replays have counted some of them, and will be run on: {replays}" if replays else ""
        return f"{found}, of which {report.counting} count in statistics at present{beside}{letters}"
    beside = f"; run on, to count none of them: the replays {replays}" if replays else ""
    return f"{found}, all erased; {report.taken_back} had counted in statistics, and do no more{beside}{letters}"


def _list(records: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        click.echo(orjson.dumps(records))
        return
    for record in records:
        finished = datetime.fromtimestamp(record["finished_at_ms"] / 1000, UTC).strftime("%Y-%m-%d %H:%M")
        click.echo(f"{finished}  {record['subject_sha256']}  decisions: {record['actions']}")
