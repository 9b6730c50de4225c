"""`pipeline worker`."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
from dataclasses import replace
from pathlib import Path

import click
import faust
import uvloop

from pipeline.cli import options
from pipeline.cli.logs import LOG_FORMAT
from pipeline.cli.processes import run_processes
from pipeline.settings import WorkerSettings
from pipeline.stream import failpoints
from pipeline.stream.app import build_app
from pipeline.stream.log.topics import create_topics, topic_specs
from pipeline.stream.security import Address


@click.command()
@options.broker_address
@options.app_id
@options.partitions
@click.option(
    "--state-dir",
    envvar="PIPELINE_STATE_DIR",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("var/state"),
    show_default=True,
    help="Where RocksDB lives; one worker a folder. [PIPELINE_STATE_DIR]",
)
@click.option(
    "--create-topics/--no-create-topics",
    envvar="PIPELINE_CREATE_TOPICS",
    default=True,
    show_default=True,
    help="Create missing topics first; the embedded broker makes its own. [PIPELINE_CREATE_TOPICS]",
)
@click.option(
    "--processes",
    envvar="PIPELINE_PROCESSES",
    type=click.IntRange(1, 256),
    default=1,
    show_default=True,
    help="Workers, one for each core: a folder below --state-dir each, started again when one stops by itself. "
    "[PIPELINE_PROCESSES]",
)
@options.registry_ids
@click.option(
    "--flush-after",
    "flush_after_s",
    envvar="PIPELINE_FLUSH_AFTER",
    type=click.FloatRange(0.0, 3_600.0),
    default=900.0,
    show_default=True,
    help="Seconds after which state goes from memory to the disk, at the latest; until then a crash reads it from its "
    "changelog. [PIPELINE_FLUSH_AFTER]",
)
@click.option(
    "--idle-after",
    "idle_after_s",
    envvar="PIPELINE_IDLE_AFTER",
    type=click.FloatRange(min=0.1),
    default=2.0,
    show_default=True,
    help="Seconds of silence after which a partition's event time goes on by the clock. [PIPELINE_IDLE_AFTER]",
)
@click.option(
    "--log-level",
    envvar="PIPELINE_LOG_LEVEL",
    type=click.Choice(["DEBUG", "INFO", "WARNING", "ERROR"]),
    default="INFO",
    show_default=True,
    help="Least severity that is logged. [PIPELINE_LOG_LEVEL]",
)
@options.metrics_host
@options.metrics_port
def worker(
    broker: Address,
    app_id: str,
    partitions: int,
    state_dir: Path,
    create_topics: bool,
    processes: int,
    registry_ids: tuple[str, ...],
    flush_after_s: float,
    idle_after_s: float,
    log_level: str,
    metrics_host: str,
    metrics_port: int | None,
) -> None:
    """Join, learn and publish, until stopped.

    \b
    Example:
      pipeline worker --broker 127.0.0.1:9092 --state-dir var/worker-1
      pipeline worker --broker 127.0.0.1:9092 --processes 4
    """
    settings = WorkerSettings(
        broker=broker,
        state_dir=state_dir.absolute(),
        app_id=app_id,
        partitions=partitions,
        declare_topics=create_topics,
        registry_ids=options.registry(registry_ids),
        flush_after_s=flush_after_s,
        idle_after_s=idle_after_s,
        log_level=log_level,
        metrics_host=metrics_host,
        metrics_port=metrics_port,
        failpoint=os.environ.get(failpoints.VARIABLE, ""),
    )
    if settings.declare_topics:
        asyncio.run(create_topics_of(settings))
    if processes == 1:
        run_worker(settings)
    else:
        logging.basicConfig(level=log_level, format=LOG_FORMAT)
        run_processes(shared_out(settings, processes), run_worker)


def shared_out(settings: WorkerSettings, processes: int) -> list[WorkerSettings]:
    """Give each of several workers a folder and, where there is one, a metrics port of its own."""
    port = settings.metrics_port
    return [
        replace(
            settings,
            state_dir=settings.state_dir / f"worker-{number}",
            metrics_port=port + number if port else port,
        )
        for number in range(processes)
    ]


def run_worker(settings: WorkerSettings) -> None:
    """Run a worker in this process; ends the process."""
    settings.state_dir.mkdir(parents=True, exist_ok=True)
    tune_collector()
    uvloop.install()
    app = build_app(settings)
    logging_config = {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"format": LOG_FORMAT}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
        "root": {"level": settings.log_level, "handlers": ["stderr"]},
    }
    faust.Worker(app, loglevel=settings.log_level, logging_config=logging_config, quiet=True).execute_from_commandline()


def tune_collector() -> None:
    """Let Python's cycle collector look rarely: a batch makes ten thousands of records, none of them a cycle."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(200_000, 20, 100)


async def create_topics_of(settings: WorkerSettings) -> None:
    """Create what topics are missing."""
    await create_topics(settings.broker, topic_specs(settings.app_id, settings.partitions))
