"""`pipeline export`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
import orjson
from rich.console import Console
from rich.progress import Progress

from pipeline.cli import options
from pipeline.errors import ConfigError
from pipeline.stream.security import Address


@click.command()
@options.broker_address
@click.option(
    "--out",
    "folder",
    envvar="PIPELINE_EXPORT_OUT",
    type=click.Path(path_type=Path, file_okay=False),
    default="export",
    show_default=True,
    help="Folder for it; takes the place of an export that is there. [PIPELINE_EXPORT_OUT]",
)
@click.option(
    "--policy",
    "policies",
    envvar="PIPELINE_EXPORT_POLICY",
    multiple=True,
    help="Only this policy, as often as you like; all, if not given. [PIPELINE_EXPORT_POLICY]",
)
@click.option(
    "--as-of",
    envvar="PIPELINE_EXPORT_AS_OF",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="An earlier export's _export.json: up to the same offsets again, but for who was forgotten since. "
    "[PIPELINE_EXPORT_AS_OF]",
)
@click.option(
    "--every-revision",
    envvar="PIPELINE_EXPORT_EVERY_REVISION",
    is_flag=True,
    help="All revisions of a decision; if not given, its last one. [PIPELINE_EXPORT_EVERY_REVISION]",
)
@options.as_json
def export(
    broker: Address, folder: Path, policies: tuple[str, ...], as_of: Path | None, every_revision: bool, as_json: bool
) -> None:
    """Write the ledger as Parquet files, for DuckDB, pandas, Spark.

    A row a decision: what was shown to which context by which chance, and what it has earned. It is written up to the
    ledger's present end, which it tells, and wholly or not at all. Of persons who were forgotten nothing is in it; no
    subject is. Needs the extra: pip install 'bandit-pipeline[export]'.

    \b
    Example:
      pipeline export --out export --policy homepage
      pipeline export --out again --as-of export/_export.json
    """
    if find_spec("pyarrow") is None:
        fault = "needs pyarrow, which is not installed: pip install 'bandit-pipeline[export]'"
        raise ConfigError("pipeline export", [fault])
    from pipeline.export.run import export_ledger  # noqa: PLC0415  optional, and slow to import

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("reading the ledger, twice", total=None)
        manifest = asyncio.run(
            export_ledger(
                broker,
                folder,
                policies,
                as_of=as_of,
                every_revision=every_revision,
                on_progress=lambda done, total: progress.update(task, completed=done, total=total),
            )
        )
    click.echo(orjson.dumps({**manifest, "folder": str(folder)}) if as_json else in_words(manifest, folder))


def in_words(manifest: Mapping[str, Any], folder: Path) -> str:
    """Tell people what was written."""
    ends = ", ".join(f"{number}: {end:,}" for number, end in manifest["rewards"]["ends"].items())
    lines = [
        f"{folder}: {manifest['rows']:,} rows in {len(manifest['files']):,} files; open: {manifest['open']:,}",
        f"  of the topic rewards below these offsets, by partition: {ends}",
    ]
    if manifest["erased"]:
        lines.append(f"  {manifest['erased']:,} decisions are erased, and not in it")
    if manifest["untold"]:
        lines.append(f"  {manifest['untold']:,} rows have no reward: by what rules they earned is not applied")
    if manifest["passed_over"]:
        lines.append(f"  {manifest['passed_over']:,} records are none of the ledger's, and were passed over")
    if manifest["files"]:
        lines.append(f"  DuckDB reads it: from '{folder}/ledger/**/*.parquet'")
    return "\n".join(lines)
