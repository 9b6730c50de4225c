"""`python -m benchmarks`."""

from __future__ import annotations

from pathlib import Path

import click

from benchmarks import micro, worker
from benchmarks.report import Row, write


@click.command()
@click.option("--decisions", default=100_000, show_default=True, help="Decisions in each run of the worker.")
@click.option("--repetitions", default=3, show_default=True, help="Runs of each case; medians are quoted.")
@click.option("--smoke", is_flag=True, help="Small and once: only whether the answers are right.")
@click.option("--micro-only", is_flag=True, help="Only the hot functions; needs no Kafka.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("out/bench"), show_default=True)
def main(decisions: int, repetitions: int, smoke: bool, micro_only: bool, out: Path) -> None:
    """Measure the worker on a local Apache Kafka (Java 17 and Maven), and its hot functions alone.

    \b
    Example:
      python -m benchmarks --decisions 50000 --repetitions 1
    """
    if smoke:
        decisions, repetitions = 2_000, 1
    rows: list[Row] = []
    for dimension, encoding in ((0, "json"), (16, "json"), (16, "avro")):
        rows += micro.measure(dimension, encoding, 1 if smoke else 7)
    if not micro_only:
        for dimension, encoding in ((0, "json"), (16, "json"), (16, "avro")):
            click.echo(f"worker, d={dimension}, {encoding}: {repetitions} runs of {decisions} decisions", err=True)
            rows += worker.measure(decisions, dimension, encoding, repetitions)
    click.echo(write(rows, out))


main()
