"""`pipeline demo`."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click
import orjson
from rich.console import Console

from pipeline.audit.record import Operator
from pipeline.brokers import default_cache_dir, running_broker
from pipeline.cli import options
from pipeline.cli.control import apply_policy
from pipeline.demo.progress import Progress
from pipeline.policy.definition import PolicyDefinition

T = TypeVar("T")


@click.command()
@click.option(
    "--broker",
    envvar="PIPELINE_DEMO_BROKER",
    default="embedded",
    show_default=True,
    metavar="embedded|kafka|HOST:PORT",
    help="A broker inside this process, a local Kafka, or an unused one of yours. [PIPELINE_DEMO_BROKER]",
)
@click.option(
    "--visitors",
    envvar="PIPELINE_DEMO_VISITORS",
    type=click.IntRange(300, 1_000_000),
    default=3_500,
    show_default=True,
    help="How many visitors decide. [PIPELINE_DEMO_VISITORS]",
)
@click.option(
    "--seed",
    envvar="PIPELINE_DEMO_SEED",
    type=click.IntRange(0),
    default=1,
    show_default=True,
    help="Draws the visitors. [PIPELINE_DEMO_SEED]",
)
@click.option(
    "--picture",
    envvar="PIPELINE_DEMO_PICTURE",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("out/demo-regret.png"),
    show_default=True,
    help="Where the regret curves go. [PIPELINE_DEMO_PICTURE]",
)
@click.option(
    "--log",
    "log_kind",
    envvar="PIPELINE_DEMO_LOG",
    type=click.Choice(["open-bandit"]),
    help="Play a log of real impressions instead of visitors; needs --data. [PIPELINE_DEMO_LOG]",
)
@click.option(
    "--data",
    envvar="PIPELINE_DEMO_DATA",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="A campaign's folder of the Open Bandit dataset, with its CSV. [PIPELINE_DEMO_DATA]",
)
@click.option(
    "--partitions",
    envvar="PIPELINE_DEMO_PARTITIONS",
    type=click.IntRange(1, 10_000),
    default=4,
    show_default=True,
    help="Partitions of the topics that carry events; the embedded broker always has 4. [PIPELINE_DEMO_PARTITIONS]",
)
@click.option(
    "--workers",
    envvar="PIPELINE_DEMO_WORKERS",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="Worker processes; the embedded broker can serve one. [PIPELINE_DEMO_WORKERS]",
)
@click.option(
    "--stay",
    "stays",
    envvar="PIPELINE_DEMO_STAY",
    is_flag=True,
    help="Start a console beside it, say its address and key, and keep all of it up until Ctrl-C. [PIPELINE_DEMO_STAY]",
)
@options.as_json
def demo(
    broker: str,
    visitors: int,
    seed: int,
    picture: Path,
    log_kind: str | None,
    data: Path | None,
    partitions: int,
    workers: int,
    stays: bool,
    as_json: bool,
) -> None:
    """Play the whole loop: broker, worker, two serving nodes, and visitors who come, click and buy.

    Ends with what the policy showed and learned, its regret beside chance's and an A/B test's, and how fresh
    its decisions were. With --log, a log of real impressions is played instead, and counted again.

    \b
    Example:
      pipeline demo
      pipeline demo --stay
      pipeline demo --log open-bandit --data data/random/women
    """
    if (log_kind is None) != (data is None):
        raise click.UsageError("--log and --data go together: --log open-bandit --data FOLDER")
    if workers > 1 and broker == "embedded":
        raise click.UsageError(f"--workers {workers}: the embedded broker can serve one worker; add --broker kafka")
    if workers > partitions:
        raise click.UsageError(f"--workers {workers}: only {partitions} of them would have a partition")
    if data is not None and stays:
        raise click.UsageError("--stay keeps the visitors' stage up: leave --log and --data out")
    if data is not None:
        _demo_log(broker, data, partitions, workers, as_json)
    else:
        _demo_visitors(broker, visitors, seed, picture, partitions, workers, stays, as_json)


def _demo_log(broker: str, data: Path, partitions: int, workers: int, as_json: bool) -> None:
    # Imported when asked for: pictures, tables and HTTP clients would slow down every other command.
    from pipeline.demo.logged import play_log, read_log  # noqa: PLC0415
    from pipeline.demo.table import log_table  # noqa: PLC0415

    impressions = read_log(data)
    with (
        Progress(Console(stderr=True)) as progress,
        running_broker(broker, cache_dir=default_cache_dir(), fresh=True) as running,
    ):
        progress.say("starting the worker")
        play = play_log(running, impressions, _apply, progress, partitions=partitions, workers=workers)
        report = _run(play)
    if as_json:
        click.echo(orjson.dumps(report.to_json()))
    else:
        Console().print(log_table(report))


def _demo_visitors(
    broker: str, visitors: int, seed: int, picture: Path, partitions: int, workers: int, stays: bool, as_json: bool
) -> None:
    # As above.
    from pipeline.demo.console import Stay  # noqa: PLC0415
    from pipeline.demo.picture import save_picture  # noqa: PLC0415
    from pipeline.demo.report import VisitorsReport  # noqa: PLC0415
    from pipeline.demo.simulated import play_visitors  # noqa: PLC0415
    from pipeline.demo.table import visitors_table  # noqa: PLC0415

    told: list[VisitorsReport] = []

    def tell(report: VisitorsReport) -> None:
        told.append(report)
        save_picture(report.curves, picture)
        if as_json:
            click.echo(orjson.dumps({**report.to_json(), "picture": str(picture)}))
        else:
            Console().print(visitors_table(report), f"The regret curves are in {picture}")
        if stays:
            click.echo("All of it stays up until Ctrl-C.", err=True)

    def say(console: str, key: str, nodes: Sequence[str]) -> None:
        click.echo(f"console: {console} (in a moment)\nkey: {key}\nnodes: {' '.join(nodes)}", err=True)

    with (
        Progress(Console(stderr=True)) as progress,
        running_broker(broker, cache_dir=default_cache_dir(), fresh=True) as running,
    ):
        progress.say("starting a worker and two serving nodes")
        stay = Stay(say, tell) if stays else None
        play = play_visitors(
            running, visitors, seed, _apply, progress, partitions=partitions, workers=workers, stay=stay
        )
        try:
            report = _run(play)
        except (click.Abort, KeyboardInterrupt):
            if told:  # it was to stay until then
                return
            raise
    tell(report)


async def _apply(broker: str, definition: PolicyDefinition) -> bool:
    # A demonstration is nobody's act, and its broker inside this process has no topic for it.
    return (await apply_policy(broker, definition, Operator("demo", "demo", tell=lambda _: None))).is_new


def _run(play: Coroutine[Any, Any, T]) -> T:
    """Run a play; a request to end it ends it in order, as Ctrl-C does."""

    async def until_told() -> T:
        task = asyncio.ensure_future(play)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        return await task

    try:
        return asyncio.run(until_told())
    except asyncio.CancelledError:
        raise click.Abort from None
