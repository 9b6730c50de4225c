"""`pipeline status`."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import click
import orjson
from rich.console import Console
from rich.table import Table

from pipeline.cli import options
from pipeline.status.facts import STAGES, DeploymentFacts
from pipeline.status.gather import gather
from pipeline.status.judge import Fault, faults_of
from pipeline.stream.security import Address


@click.command()
@options.broker_address
@options.app_id
@click.option(
    "--worker-metrics",
    "workers",
    envvar="PIPELINE_WORKER_METRICS",
    multiple=True,
    metavar="URL",
    help="A worker's --metrics-port, such as http://127.0.0.1:9100; may be given again. [PIPELINE_WORKER_METRICS]",
)
@click.option(
    "--node",
    "nodes",
    envvar="PIPELINE_NODES",
    multiple=True,
    metavar="URL",
    help="A serving node, such as http://127.0.0.1:8080; may be given again. [PIPELINE_NODES]",
)
@click.option(
    "--node-key-file",
    envvar="PIPELINE_NODE_KEY_FILE",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="File of a key with the right operate, where nodes ask for one. [PIPELINE_NODE_KEY_FILE]",
)
@click.option(
    "--over",
    "over_s",
    envvar="PIPELINE_STATUS_OVER",
    type=click.FloatRange(0.2, 60.0),
    default=2.0,
    show_default=True,
    help="Seconds that rates are taken over. [PIPELINE_STATUS_OVER]",
)
@click.option(
    "--behind",
    "behind_s",
    envvar="PIPELINE_STATUS_BEHIND",
    type=click.FloatRange(0.1, 86_400.0),
    default=30.0,
    show_default=True,
    help="Seconds that a stage may be behind. [PIPELINE_STATUS_BEHIND]",
)
@options.as_json
def status(
    broker: Address,
    app_id: str,
    workers: tuple[str, ...],
    nodes: tuple[str, ...],
    node_key_file: Path | None,
    over_s: float,
    behind_s: float,
    as_json: bool,
) -> None:
    """Tell how a deployment is: topics, stages, workers, nodes. Exit code 1: something is wrong, and is named.

    \b
    Example:
      pipeline status --broker 127.0.0.1:9092
      pipeline status --worker-metrics http://127.0.0.1:9100 --node http://127.0.0.1:8080
      pipeline status --behind 10 --json
    """
    node_key = "" if node_key_file is None else node_key_file.read_text("utf-8").strip()
    facts = asyncio.run(gather(broker, app_id, workers, nodes, node_key, over_s))
    faults = list(faults_of(facts, behind_s))
    if as_json:
        told = {"status": "fault" if faults else "ok", "faults": [each._asdict() for each in faults]}
        click.echo(orjson.dumps(told | asdict(facts)))
    else:
        _show(facts, faults, time.time())
    if faults:
        sys.exit(1)


def _show(facts: DeploymentFacts, faults: Sequence[Fault], now_s: float) -> None:
    console = Console()
    for table in _tables(facts, now_s):
        console.print(table)
        console.print()
    for fault in faults:
        console.print(f"[red]✗[/red] {fault.what}: {fault.seen}. Next: {fault.next_step}", soft_wrap=True)
    if not faults:
        console.print("[green]✓[/green] nothing is wrong with what was looked at")


def _tables(facts: DeploymentFacts, now_s: float) -> Iterator[Table]:
    topics = _table("topic", "partitions", "records", "per second", "not read by the group")
    for name, seen in facts.topics.items():
        lag = "" if name not in _READ else _count(seen.lag_records)
        topics.add_row(name, str(seen.partitions), _count(seen.end), f"{seen.rate_per_s:,.1f}", lag)
    yield topics
    answering = [worker for worker in facts.workers if not worker.fault]
    if answering:
        stages = _table("stage", "worker", "partitions", "behind, records", "behind, s", "handled")
        streams = _table("stream", "worker", "read", "what became of them", "unaccounted", "watermark, s ago")
        for worker in answering:
            for stage, one in worker.stages.items():
                behind = (_count(one.lag_records), f"{one.lag_s:,.1f}")
                stages.add_row(stage, worker.url, str(one.claimed), *behind, _count(one.handled))
            for stream, told in worker.streams.items():
                fates = ", ".join(f"{n:,} {fate}" for fate, n in sorted(told.fates.items()) if fate != "read" and n)
                ago = "" if told.watermark_ms is None else f"{now_s - told.watermark_ms / 1000:,.1f}"
                read = _count(told.fates.get("read", 0))
                streams.add_row(stream, worker.url, read, fates, _count(told.unaccounted), ago)
        yield stages
        yield streams
    if facts.members or facts.claims:
        yield _owners(facts)
    if facts.nodes:
        nodes = _table("node", "says", "decides by", "undelivered")
        for node in facts.nodes:
            versions = ", ".join(f"{policy} {version}" for policy, version in sorted((node.versions or {}).items()))
            nodes.add_row(node.url, node.fault or node.status, versions, _count(node.undelivered))
        yield nodes


def _owners(facts: DeploymentFacts) -> Table:
    owners = _table("of the group", "partitions of decisions", "claims of the deployment")
    claims = facts.claims or {}
    taken = f"{sum(claim is not None for claim in claims.values())} of {len(claims)}"
    for number, (who, count) in enumerate(sorted(facts.members.items()) or [("nobody", 0)]):
        owners.add_row(who, str(count), taken if number == 0 else "")
    return owners


_READ = {topic for read in STAGES.values() for topic in read}


def _table(*columns: str) -> Table:
    return Table(*columns, box=None, pad_edge=False)


def _count(number: int | None) -> str:
    return "not told" if number is None else f"{number:,}"
