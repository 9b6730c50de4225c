"""`python -m benchmarks SUITE`."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from benchmarks import micro, models, pipeline, recovery
from benchmarks.report import Row, write

OUT = Path("out/bench")


@click.group()
def main() -> None:
    """Measure the platform: each suite adds its rows to out/bench/bench.json and bench.md.

    \b
    Example:
      python -m benchmarks all
      python -m benchmarks pipeline --decisions 50000 --repetitions 1
      python -m benchmarks micro --smoke
    """


def suite(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add what every suite takes."""
    options = (
        click.option("--smoke", is_flag=True, help="Small and once: only whether the answers are right."),
        click.option(
            "--out", type=click.Path(path_type=Path), default=OUT, show_default=True, help="Where it is told."
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function


def repetitions(default: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add how often each case is measured."""
    return click.option(
        "--repetitions",
        type=click.IntRange(1),
        default=default,
        show_default=True,
        help="Runs of each case; medians are quoted.",
    )


def tell(name: str, rows: list[Row], out: Path, *, is_smoke: bool) -> None:
    """Write a suite's rows, and show them."""
    click.echo(write(name, rows, out, is_smoke=is_smoke))


@main.command("micro")
@repetitions(7)
@suite
def micro_command(repetitions: int, smoke: bool, out: Path) -> None:
    """The hot functions and every algorithm, alone; needs no Kafka."""
    runs = 1 if smoke else repetitions
    rows = [row for dimension, encoding in pipeline.KINDS for row in micro.measure(dimension, encoding, runs)]
    tell("micro", rows + models.measure(runs), out, is_smoke=smoke)


@main.command("pipeline")
@click.option("--decisions", default=100_000, show_default=True, help="Decisions in each run of the worker.")
@repetitions(3)
@suite
def pipeline_command(decisions: int, repetitions: int, smoke: bool, out: Path) -> None:
    """The whole worker, on topics that are full; needs Java 17 and Maven."""
    rows = pipeline.measure(2_000 if smoke else decisions, 1 if smoke else repetitions)
    tell("pipeline", rows, out, is_smoke=smoke)


@main.command("recovery")
@click.option("--rows", "table_rows", default=1_000_000, show_default=True, help="Of the table that is rebuilt.")
@click.option("--decisions", default=100_000, show_default=True, help="Open when the worker is killed.")
@repetitions(3)
@suite
def recovery_command(table_rows: int, decisions: int, repetitions: int, smoke: bool, out: Path) -> None:
    """A table rebuilt from its changelog, and a killed worker's next snapshot; needs Java 17 and Maven."""
    if smoke:
        table_rows, decisions, repetitions = 10_000, 2_000, 1
    tell("recovery", recovery.measure(table_rows, decisions, repetitions), out, is_smoke=smoke)


@main.command("serving")
@repetitions(3)
@suite
def serving_command(repetitions: int, smoke: bool, out: Path) -> None:
    """A serving node under wrk (and oha, if there); needs Java 17 and Maven."""
    from benchmarks import serving  # noqa: PLC0415  an HTTP client, of no use to the others

    tell("serving", serving.measure(3 if smoke else 15, 1 if smoke else repetitions), out, is_smoke=smoke)


@main.command("soak")
@click.option("--events", type=click.IntRange(1_000), default=5_000_000, show_default=True)
@click.option("--minutes", default=60.0, show_default=True, help="A soak ends after so long, whole or not.")
@suite
def soak_command(events: int, minutes: float, smoke: bool, out: Path) -> None:
    """What a worker takes of memory and disk in the long run; needs Java 17 and Maven."""
    from benchmarks import soak  # noqa: PLC0415  plots are slow to import

    click.echo(soak.run(20_000 if smoke else events, minutes, out))


@main.command("learning")
@click.option("--seeds", default=20, show_default=True, help="Runs of each policy.")
@click.option(
    "--kept",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep every run here, and go on where a bench of the same code was stopped.",
)
@suite
def learning_command(seeds: int, kept: Path | None, smoke: bool, out: Path) -> None:
    """How well policies learn, not how fast; needs no Kafka."""
    from benchmarks import chapelle_li, learning  # noqa: PLC0415  plots are slow to import

    seeds, scale = (2, 0.04) if smoke else (seeds, 1.0)
    results = list(learning.measure(seeds, scale, kept=kept))
    found = list(chapelle_li.measure(steps=int(chapelle_li.STEPS * scale) // 10 * 10, runs=min(seeds, 10)))
    click.echo(learning.write(results, out, chapelle_li.table(found)))


@main.command("all")
@suite
@click.pass_context
def all_command(context: click.Context, smoke: bool, out: Path) -> None:
    """Every suite of speed, one after the other; `serving` where wrk is on the path."""
    commands = [micro_command, pipeline_command, recovery_command]
    if shutil.which("wrk"):
        commands.append(serving_command)
    for command in commands:
        click.echo(f"{command.name} …", err=True)
        context.invoke(command, smoke=smoke, out=out)


if __name__ == "__main__":
    main(prog_name="python -m benchmarks")
