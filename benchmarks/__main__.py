"""`python -m benchmarks`."""

from __future__ import annotations

from pathlib import Path

import click

from benchmarks import micro, models, recovery, serving, soak, stages, worker
from benchmarks.report import Row, write


@click.command()
@click.option("--decisions", default=100_000, show_default=True, help="Decisions in each run of the worker.")
@click.option("--repetitions", default=3, show_default=True, help="Runs of each case; medians are quoted.")
@click.option("--smoke", is_flag=True, help="Small and once: only whether the answers are right.")
@click.option("--learning", is_flag=True, help="How well policies learn, not how fast; needs no Kafka.")
@click.option("--seeds", default=20, show_default=True, help="Of the learning bench: runs of each policy.")
@click.option("--micro-only", is_flag=True, help="Only the hot functions; needs no Kafka.")
@click.option(
    "--soak",
    "soak_events",
    type=click.IntRange(1_000),
    is_flag=False,
    flag_value=5_000_000,
    metavar="EVENTS",
    help="Instead: that many events through one worker (5,000,000 if not said), and what it takes of memory and disk.",
)
@click.option("--serving", "is_serving", is_flag=True, help="Instead: a serving node under wrk (and oha, if there).")
@click.option("--minutes", default=60.0, show_default=True, help="A soak ends after so long, whole or not.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("out/bench"), show_default=True)
def main(
    decisions: int,
    repetitions: int,
    smoke: bool,
    learning: bool,
    seeds: int,
    micro_only: bool,
    soak_events: int | None,
    is_serving: bool,
    minutes: float,
    out: Path,
) -> None:
    """Measure the worker on a local Apache Kafka (Java 17 and Maven), and its hot functions alone.

    \b
    Example:
      python -m benchmarks --decisions 50000 --repetitions 1
      python -m benchmarks --learning
      python -m benchmarks --soak 1000000
    """
    if learning:
        _learning(2 if smoke else seeds, 0.04 if smoke else 1.0, out)
        return
    if is_serving:
        click.echo(write(serving.measure(3 if smoke else 15, 1 if smoke else repetitions), out))
        return
    if soak_events is not None:
        click.echo(soak.run(soak_events, minutes, out))
        return
    if smoke:
        decisions, repetitions = 2_000, 1
    rows: list[Row] = []
    for dimension, encoding in ((0, "json"), (16, "json"), (16, "avro")):
        rows += micro.measure(dimension, encoding, 1 if smoke else 7)
        rows += stages.measure(dimension, encoding, 1 if smoke else 5, 2_400 if smoke else 24_000)
    rows += models.measure(1 if smoke else 7)
    if not micro_only:
        for dimension, encoding in ((0, "json"), (16, "json"), (16, "avro")):
            click.echo(f"worker, d={dimension}, {encoding}: {repetitions} runs of {decisions} decisions", err=True)
            rows += worker.measure(decisions, dimension, encoding, repetitions)
        click.echo(f"recovery: {repetitions} runs", err=True)
        rows += recovery.measure(10_000 if smoke else 1_000_000, decisions, repetitions)
    click.echo(write(rows, out))


def _learning(seeds: int, scale: float, out: Path) -> None:
    # Of no use to the others, and slow to import.
    from benchmarks import chapelle_li, learning  # noqa: PLC0415

    results = list(learning.measure(seeds, scale))
    found = list(chapelle_li.measure(steps=int(chapelle_li.STEPS * scale) // 10 * 10, runs=min(seeds, 10)))
    click.echo(learning.write(results, out, chapelle_li.table(found)))


main()
