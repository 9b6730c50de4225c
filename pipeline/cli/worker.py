"""`pipeline worker`."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import threading
from dataclasses import replace
from pathlib import Path

import click
import faust
import uvloop

from pipeline.cli import options
from pipeline.cli.endings import plainly
from pipeline.cli.logs import log_to_stderr
from pipeline.cli.processes import run_processes
from pipeline.doctor.watch import require_sound
from pipeline.errors import NotAllowedError
from pipeline.registry.lookup import Schemas
from pipeline.registry.settings import RegistrySettings
from pipeline.settings import (
    CHECKPOINT_EVERY_S,
    CLOCK_SKEW_MS,
    COMMIT_INTERVAL_S,
    MOST_CHECKPOINT_EVERY_S,
    ORPHAN_HOLD_MS,
    SESSION_TIMEOUT_S,
    LogFormat,
    WorkerSettings,
)
from pipeline.stream import failpoints
from pipeline.stream.app import build_app
from pipeline.stream.log.continuity import accepted_logs
from pipeline.stream.log.deployment import join_deployment
from pipeline.stream.log.topics import DEFAULT_PARTITIONS, create_topics, deployed_partitions, topic_specs
from pipeline.stream.security import Address

log = logging.getLogger(__name__)

STOPPED_WITHIN_S = 15.0
"""After a signal, as those who stop it (Docker after 10 s or as told, Kubernetes after 30) would otherwise kill it."""


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
    "--take-over",
    "takes_over",
    envvar="PIPELINE_TAKE_OVER",
    default="",
    metavar="APP_ID",
    help="Work the topics in place of another application, whose workers are stopped: two would write every version "
    "twice, so the second is refused. [PIPELINE_TAKE_OVER]",
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
@options.registry
@click.option(
    "--accept-log",
    "accept_log",
    envvar="PIPELINE_ACCEPT_LOG",
    multiple=True,
    metavar="TOPIC=ID@EPOCH:start|position",
    help="Read a log on that is not the one that was read, from its start or from the position; a worker that stopped "
    "for it says what to write here, and it holds for that log alone. [PIPELINE_ACCEPT_LOG]",
)
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
    "--checkpoint-every",
    "checkpoint_every_s",
    envvar="PIPELINE_CHECKPOINT_EVERY",
    type=click.FloatRange(0.0, MOST_CHECKPOINT_EVERY_S),
    default=CHECKPOINT_EVERY_S,
    show_default=True,
    help="Seconds between two checkpoints of each partition of the ledger, at which proofs can begin, 21600 for "
    "instance; 0: none is written. [PIPELINE_CHECKPOINT_EVERY]",
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
    "--session-timeout",
    "session_timeout_s",
    envvar="PIPELINE_SESSION_TIMEOUT",
    type=click.FloatRange(*SESSION_TIMEOUT_S),
    default=10.0,
    show_default=True,
    help="Seconds that the broker waits for a silent worker before its partitions move. [PIPELINE_SESSION_TIMEOUT]",
)
@click.option(
    "--commit-interval",
    "commit_interval_s",
    envvar="PIPELINE_COMMIT_INTERVAL",
    type=click.FloatRange(*COMMIT_INTERVAL_S),
    default=0.5,
    show_default=True,
    help="Seconds between commits: so much is read again after a crash, to no effect. [PIPELINE_COMMIT_INTERVAL]",
)
@click.option(
    "--orphan-hold-ms",
    envvar="PIPELINE_ORPHAN_HOLD_MS",
    type=click.IntRange(*ORPHAN_HOLD_MS),
    default=3_600_000,
    show_default=True,
    help="Event time that an outcome waits for its decision. [PIPELINE_ORPHAN_HOLD_MS]",
)
@click.option(
    "--max-clock-skew-ms",
    envvar="PIPELINE_MAX_CLOCK_SKEW_MS",
    type=click.IntRange(*CLOCK_SKEW_MS),
    default=300_000,
    show_default=True,
    help="How far an event may be ahead of the broker's clock. [PIPELINE_MAX_CLOCK_SKEW_MS]",
)
@click.option(
    "--log-level",
    envvar="PIPELINE_LOG_LEVEL",
    type=click.Choice(["DEBUG", "INFO", "WARNING", "ERROR"]),
    default="INFO",
    show_default=True,
    help="Least severity that is logged. [PIPELINE_LOG_LEVEL]",
)
@options.log_format
@click.option(
    "--snapshot-signing-key",
    envvar="PIPELINE_SNAPSHOT_SIGNING_KEY",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="PEM file of an Ed25519 key (openssl genpkey -algorithm ed25519) to sign snapshots with. "
    "[PIPELINE_SNAPSHOT_SIGNING_KEY]",
)
@click.option(
    "--end-on-failed-lane/--go-on",
    "ends_on_failed_lane",
    envvar="PIPELINE_END_ON_FAILED_LANE",
    default=False,
    show_default=True,
    help="End with exit code 75 when a partition of a stage fails again and again, for a supervisor; if not, it stands "
    "still, the metric pipeline_failed_lanes says so, and all others go on. [PIPELINE_END_ON_FAILED_LANE]",
)
@options.metrics_host
@options.metrics_port
def worker(
    broker: Address,
    app_id: str,
    partitions: int | None,
    state_dir: Path,
    create_topics: bool,
    takes_over: str,
    processes: int,
    registry: RegistrySettings,
    accept_log: tuple[str, ...],
    flush_after_s: float,
    checkpoint_every_s: float,
    idle_after_s: float,
    session_timeout_s: float,
    commit_interval_s: float,
    orphan_hold_ms: int,
    max_clock_skew_ms: int,
    log_level: str,
    log_format: LogFormat,
    ends_on_failed_lane: bool,
    metrics_host: str,
    metrics_port: int | None,
    snapshot_signing_key: Path | None,
) -> None:
    """Join, learn and publish, until stopped.

    \b
    Example:
      pipeline worker --broker 127.0.0.1:9092 --state-dir var/worker-1
      pipeline worker --broker 127.0.0.1:9092 --processes 4
      pipeline worker --broker 127.0.0.1:9092 --checkpoint-every 21600
      pipeline worker --app-id pipeline-2 --take-over pipeline
      pipeline worker --accept-log outcomes=6f4d7c1e-9b7b-4a51-8f0e-6d6ac4dc0a3b@0:start
    """
    settings = WorkerSettings(
        broker=broker,
        state_dir=state_dir.absolute(),
        app_id=app_id,
        partitions=partitions or asyncio.run(deployed_partitions(broker)) or DEFAULT_PARTITIONS,
        declare_topics=create_topics,
        registry=registry,
        accepted_logs=accepted_logs(accept_log),
        flush_after_s=flush_after_s,
        checkpoint_every_s=checkpoint_every_s,
        idle_after_s=idle_after_s,
        session_timeout_s=session_timeout_s,
        commit_interval_s=commit_interval_s,
        orphan_hold_ms=orphan_hold_ms,
        max_clock_skew_ms=max_clock_skew_ms,
        log_level=log_level,
        log_format=log_format,
        ends_on_failed_lane=ends_on_failed_lane,
        metrics_host=metrics_host,
        metrics_port=metrics_port,
        snapshot_signing_key=snapshot_signing_key,
        failpoint=os.environ.get(failpoints.VARIABLE, ""),
    )
    log_to_stderr(log_level, log_format)
    asyncio.run(check_registry(registry))
    if settings.declare_topics:
        asyncio.run(create_topics_of(settings))
    require_sound(broker, app_id, settings.partitions)
    asyncio.run(join_deployment(broker, app_id, takes_over))
    if processes == 1:
        run_worker(settings)
    else:
        run_processes(shared_out(settings, processes), run_member)


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


class PunctualWorker(faust.Worker):  # type: ignore[misc]  # Faust is untyped
    """Faust's runner, which a broker that does not answer can't keep from stopping."""

    def install_signal_handlers(self) -> None:
        """Stop in order when asked to, and at once when that takes too long."""
        super().install_signal_handlers()
        self.loop.add_signal_handler(signal.SIGTERM, self._stop_in_time, signal.SIGTERM)
        self.loop.add_signal_handler(signal.SIGINT, self._stop_in_time, signal.SIGINT)

    def _stop_in_time(self, number: signal.Signals) -> None:
        overdue = threading.Timer(STOPPED_WITHIN_S, _end_at_once)
        overdue.daemon = True
        overdue.start()
        self._schedule_shutdown(number)


def _end_at_once() -> None:
    """End as `kill -9` would, which loses nothing: what is not acknowledged is read again."""
    log.warning("stopped-at-once after_s=%g: the broker does not answer, or a step takes too long", STOPPED_WITHIN_S)
    logging.shutdown()
    os._exit(0)


def run_member(settings: WorkerSettings) -> None:
    """Run one worker of several, in a process of its own."""
    with plainly():
        run_worker(settings)


def run_worker(settings: WorkerSettings) -> None:
    """Run a worker in this process; ends the process."""
    settings.state_dir.mkdir(parents=True, exist_ok=True)
    tune_collector()
    uvloop.install()
    app = build_app(settings)
    logging_config = {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {"stderr": {"class": "pipeline.cli.logs.BoundedHandler", "log_format": settings.log_format}},
        "root": {"level": settings.log_level, "handlers": ["stderr"]},
    }
    runner = PunctualWorker(app, loglevel=settings.log_level, logging_config=logging_config, quiet=True)
    runner.execute_from_commandline()


def tune_collector() -> None:
    """Let Python's cycle collector look rarely: a batch makes ten thousands of records, none of them a cycle."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(200_000, 20, 100)


async def create_topics_of(settings: WorkerSettings) -> None:
    """Create what topics are missing, where this user may; what a worker can't do without is looked at next."""
    try:
        await create_topics(settings.broker, topic_specs(settings.app_id, settings.partitions))
    except NotAllowedError as error:
        log.info("topics-not-created error=%s", error)


async def check_registry(settings: RegistrySettings) -> None:
    """Refuse to start with a registry that would never answer; one that is away may come back."""
    async with Schemas(settings) as schemas:
        await schemas.check()
