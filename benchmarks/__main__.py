"""`python -m benchmarks SUITE`."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import orjson
from rich.console import Console
from rich.progress import Progress

from benchmarks import (
    cluster,
    freshness,
    growth,
    growth_age,
    growth_history,
    growth_outcomes,
    micro,
    models,
    monitors,
    pipeline,
    proof,
    publish,
    rebalance,
    recovery,
    replaying,
    sizing,
    stages,
)
from benchmarks.report import Row, read, write

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
    """The hot functions, whole stages and every algorithm, alone; needs no Kafka."""
    runs = 1 if smoke else repetitions
    rows = [row for dimension, encoding in pipeline.KINDS for row in micro.measure(dimension, encoding, runs)]
    for dimension, encoding in pipeline.KINDS:
        rows += stages.measure(dimension, encoding, runs, 2_400 if smoke else 24_000)
    tell("micro", rows + models.measure(runs), out, is_smoke=smoke)


@main.command("monitors")
@click.option("--decisions", default=24_000, show_default=True, help="Decisions in each run.")
@repetitions(3)
@suite
def monitors_command(decisions: int, repetitions: int, smoke: bool, out: Path) -> None:
    """What monitors cost: JOIN and LEARN with samples and without, in turn on the same events, and a look at all."""
    rows = monitors.measure(2_000 if smoke else decisions, 1 if smoke else repetitions)
    tell("monitors", rows, out, is_smoke=smoke)


@main.command("pipeline")
@click.option("--decisions", default=100_000, show_default=True, help="Decisions in each run of the worker.")
@click.option("--peers/--no-peers", "with_peers", default=True, show_default=True, help="Whether they play too.")
@repetitions(3)
@suite
def pipeline_command(decisions: int, with_peers: bool, repetitions: int, smoke: bool, out: Path) -> None:
    """The whole worker, on topics that are full, beside programs of the same work; needs Java 17 and Maven."""
    rows = pipeline.measure(2_000 if smoke else decisions, 1 if smoke else repetitions, with_peers=with_peers)
    tell("pipeline", rows, out, is_smoke=smoke)


@main.command("freshness")
@click.option("--rate", "rates", type=int, multiple=True, default=freshness.RATES, show_default=True, help="Events/s.")
@click.option("--seconds", default=15.0, show_default=True, help="Of each run.")
@click.option("--interval", default="100ms", show_default=True, help="The policy's [publish] interval.")
@repetitions(3)
@suite
def freshness_command(
    rates: tuple[int, ...], seconds: float, interval: str, repetitions: int, smoke: bool, out: Path
) -> None:
    """Outcome due to snapshot in use, at a steady load; needs Java 17 and Maven."""
    if smoke:
        rates, seconds, repetitions = (500,), 2.0, 1
    tell("freshness", freshness.measure(rates, seconds, interval, repetitions), out, is_smoke=smoke)


@main.command("rebalance")
@click.option("--partitions", default=64, show_default=True, help="Of each topic.")
@repetitions(1)
@suite
def rebalance_command(partitions: int, repetitions: int, smoke: bool, out: Path) -> None:
    """How long policies have no new snapshots when a second worker joins; needs Java 17 and Maven."""
    if smoke:
        partitions, repetitions = 4, 1
    tell("rebalance", rebalance.measure(partitions, repetitions), out, is_smoke=smoke)


@main.command("growth")
@click.option("--largest", is_flag=True, help="Also 5,000,000 open actions: some minutes, and 4 GB of disk.")
@click.option("--outcomes", is_flag=True, help="Only what an action writes by how many outcomes it has, in bytes.")
@click.option("--history", is_flag=True, help="Only what snapshot-history takes of a policy in a month, in bytes.")
@click.option("--age", is_flag=True, help="Only what a publish costs after up to two years: some minutes.")
@repetitions(5)
@suite
def growth_command(
    largest: bool, outcomes: bool, history: bool, age: bool, repetitions: int, smoke: bool, out: Path
) -> None:
    """Cost of an event as what is held grows, and a picture of it; needs no Kafka."""
    from benchmarks import growth_picture  # noqa: PLC0415  plots are slow to import

    is_all = not (outcomes or history or age)
    if age or (smoke and is_all):
        aged = growth_age.measure(growth_age.SMOKE_DAYS if smoke else growth_age.DAYS, 1 if smoke else repetitions)
        tell("growth-age", growth_age.rows_of(aged), out, is_smoke=smoke)
        growth_picture.save(aged, out / "growth-age.png")
    if outcomes or is_all:
        written = growth_outcomes.measure(growth_outcomes.SMOKE if smoke else growth_outcomes.SIZES)
        tell("growth-outcomes", growth_outcomes.rows_of(written), out, is_smoke=smoke)
    if history or is_all:
        tell("growth-history", growth_history.measure(2 if smoke else growth_history.DAYS), out, is_smoke=smoke)
    if not is_all:
        return
    sizes = growth.SMOKE if smoke else growth.Sizes()
    if largest:
        sizes = sizes._replace(open_actions=(*sizes.open_actions, 5_000_000))
    points = growth.measure(sizes, 1 if smoke else repetitions)
    tell("growth", growth.rows_of(points), out, is_smoke=smoke)
    growth_picture.save(points, out / "growth.png")


@main.command("publish")
@repetitions(3)
@suite
def publish_command(repetitions: int, smoke: bool, out: Path) -> None:
    """A large policy: merge, posterior, bytes of a snapshot, a node's loading; needs no Kafka."""
    size = publish.SMOKE if smoke else publish.Size()
    tell("publish", publish.measure(size, 1 if smoke else repetitions), out, is_smoke=smoke)


@main.command("recovery")
@click.option("--rows", "table_rows", default=1_000_000, show_default=True, help="Of the table that is rebuilt.")
@click.option("--decisions", default=100_000, show_default=True, help="Open when the worker is killed.")
@repetitions(3)
@suite
def recovery_command(table_rows: int, decisions: int, repetitions: int, smoke: bool, out: Path) -> None:
    """Tables rebuilt, a killed worker's next snapshot, replay and verify; needs Java 17 and Maven."""
    if smoke:
        table_rows, decisions, repetitions = 10_000, 2_000, 1
    rows = recovery.measure(table_rows, decisions, repetitions) + replaying.measure(decisions, repetitions)
    tell("recovery", rows, out, is_smoke=smoke)


@main.command("proof")
@click.option("--actions", default=1_000_000, show_default=True, help="Of the ledger, two records each.")
@click.option(
    "--log",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="A campaign's folder of the Open Bandit dataset, to be played in place of them.",
)
@suite
def proof_command(actions: int, log: Path | None, smoke: bool, out: Path) -> None:
    """A ledger proven by `verify` and by its independent twin, and wrong snapshots of it; needs Java 17 and Maven."""
    broker = "embedded" if smoke else "kafka"
    rows = proof.measure(proof.SMOKE_ACTIONS if smoke else actions, log, broker=broker)
    tell("proof", rows, out, is_smoke=smoke)


@main.command("cluster")
@click.option("--events", "events_per_s", default=1_000_000, show_default=True, help="A second.")
@click.option("--workers", default=64, show_default=True)
@click.option("--partitions", default=128, show_default=True)
@click.option("--seconds", default=2, show_default=True, help="To simulate; each takes some ten at a million events.")
@suite
def cluster_command(events_per_s: int, workers: int, partitions: int, seconds: int, smoke: bool, out: Path) -> None:
    """What many workers send to the publisher, and what it takes: simulated with the real pure functions."""
    case = cluster.Cluster(events_per_s, workers, partitions, seconds=seconds)
    tell("cluster", cluster.simulate(cluster.SMOKE if smoke else case), out, is_smoke=smoke)


@main.command("sizing")
@click.option("--out", type=click.Path(path_type=Path), default=OUT, show_default=True, help="Where it was told.")
def sizing_command(out: Path) -> None:
    """Workers, partitions and disk for a load, computed from what was measured before."""
    try:
        click.echo(sizing.table(read(out)))
    except ValueError as error:
        raise click.ClickException(str(error)) from error


@main.command("serving")
@repetitions(3)
@suite
def serving_command(repetitions: int, smoke: bool, out: Path) -> None:
    """A serving node under wrk and oha, and `decide` alone; needs Java 17 and Maven."""
    from benchmarks import serving  # noqa: PLC0415  an HTTP client, of no use to the others

    size = serving.SMOKE if smoke else serving.Size(repetitions=repetitions)
    tell("serving", serving.measure(size), out, is_smoke=smoke)


@main.command("attacks")
@click.option("--seconds", default=6.0, show_default=True, help="Of each attack.")
@click.option("--attack", "names", multiple=True, help="Only these.")
@repetitions(3)
@suite
def attacks_command(seconds: float, names: tuple[str, ...], repetitions: int, smoke: bool, out: Path) -> None:
    """What a caller with a key waits while a node is attacked: the table of SECURITY.md; needs no Kafka."""
    from benchmarks import attacks  # noqa: PLC0415  an HTTP client, of no use to the others

    if smoke:
        seconds, repetitions, names = 1.0, 1, names or ("batches", "half-sent")
    rows = attacks.measure(seconds, repetitions, names)
    tell("attacks", rows, out, is_smoke=smoke)
    click.echo(attacks.table(rows))


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
@click.option("--environment", "names", multiple=True, help="Only these; and not Chapelle & Li's table.")
@suite
def learning_command(seeds: int, kept: Path | None, names: tuple[str, ...], smoke: bool, out: Path) -> None:
    """How well policies learn, not how fast; needs no Kafka."""
    from benchmarks import chapelle_li, learning  # noqa: PLC0415  plots are slow to import

    seeds, scale = (2, 0.04) if smoke else (seeds, 1.0)
    results = list(learning.measure(seeds, scale, names or tuple(learning.ENVIRONMENTS), kept=kept))
    steps = int(chapelle_li.STEPS * scale) // 10 * 10
    extra = "" if names else chapelle_li.table(list(chapelle_li.measure(steps, seeds)))
    click.echo(learning.write(results, out, extra))


@main.command("untuned")
@click.option("--seeds", default=20, show_default=True, help="Runs of each policy.")
@click.option("--first-seed", type=int, help="Where they begin; by default where nothing was chosen.")
@click.option("--trial-seeds", default=40, show_default=True, help="Runs that peers are tuned on, of other seeds.")
@click.option("--kept", type=click.Path(path_type=Path, file_okay=False), help="Keep every run here, and go on there.")
@click.option("--environment", "names", multiple=True, help="Only these.")
@click.option("--libraries/--no-libraries", default=True, show_default=True, help="MABWiser and Vowpal Wabbit too.")
@click.option("--processes", default=1, show_default=True, help="Runs side by side.")
@suite
def untuned_command(
    seeds: int,
    first_seed: int | None,
    trial_seeds: int,
    kept: Path | None,
    names: tuple[str, ...],
    libraries: bool,
    processes: int,
    smoke: bool,
    out: Path,
) -> None:
    """`auto` as it ships, beside peers tuned in each environment; needs no Kafka.

    \b
    Example:
      python -m benchmarks untuned --seeds 5 --environment corners --no-libraries
    """
    from benchmarks.untuned import cases, measure  # noqa: PLC0415  brings all the environments

    seeds, trial_seeds, scale = (2, 2, 0.05) if smoke else (seeds, trial_seeds, 1.0)
    first = cases.FIRST_SEED if first_seed is None else first_seed
    judged, tried = (range(start, start + many) for start, many in ((first, seeds), (cases.TRIAL_SEED, trial_seeds)))
    if set(judged) & set(tried):
        words = f"peers are tuned on {tried[0]} to {tried[-1]}, and are judged by others; choose another --first-seed"
        raise click.UsageError(f"seeds {judged[0]} to {judged[-1]}: {words}")
    found = []
    for one in measure.measure(
        judged,
        tried,
        names or tuple(cases.CASES),
        scale=scale,
        libraries=libraries,
        kept=kept,
        processes=processes,
    ):
        click.echo("{}: {:.2f} of {}, {:+.4g} ± {:.2g}".format(one.case, one.ratio, one.peer, *one.behind), err=True)
        found.append(one)
    out.mkdir(parents=True, exist_ok=True)
    (out / "untuned.json").write_bytes(orjson.dumps(measure.to_plain(found), option=orjson.OPT_INDENT_2))
    click.echo(measure.table(found))


@main.command("coverage")
@click.option("--runs", type=click.IntRange(1), default=2_000, show_default=True, help="Of each tool on each data.")
@click.option(
    "--only", "only", multiple=True, metavar="WORDS", help="Only tools and data with these words in their name."
)
@click.option(
    "--kept",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep what has come of the runs here, and go on where a suite of the same code was stopped.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a figure.")
@click.option("--markdown", is_flag=True, help="The tables of docs/numbers.md.")
@click.option("--into", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="A page to put them into.")
def coverage_command(
    runs: int, only: tuple[str, ...], kept: Path | None, as_json: bool, markdown: bool, into: Path | None
) -> None:
    """How often intervals and tests of report, evaluate and advise are right; needs no Kafka, and an hour and a half.

    Exit code 1: a figure is right in less than 94 %, by more than two standard errors.

    \b
    Example:
      python -m benchmarks coverage --kept out/coverage
      python -m benchmarks coverage --kept out/coverage --into docs/numbers.md
      python -m benchmarks coverage --runs 200 --only "lognormal" --json
    """
    from benchmarks.coverage import cells as known  # noqa: PLC0415  brings all the tools
    from benchmarks.coverage import run, table  # noqa: PLC0415

    cells = [cell for cell in known.CELLS if not only or any(words in cell.name for words in only)]
    if not cells:
        raise click.UsageError(f"--only {only[0]!r} names none of: {'; '.join(cell.name for cell in known.CELLS)}")
    with Progress(*Progress.get_default_columns(), console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("coverage", total=None)
        found = run.measure(
            cells,
            runs,
            kept,
            lambda cell, done, total: progress.update(task, description=cell, completed=done, total=total),
        )
    if into is not None:
        table.put_into(into, table.markdown(cells, found))
    elif as_json:
        for line in table.to_plain(cells, found):
            click.echo(orjson.dumps(line))
    else:
        click.echo(table.markdown(cells, found) if markdown else table.lines(cells, found))
    low = table.verdict(cells, found)
    for words in low:
        click.echo(words, err=True)
    sys.exit(1 if low else 0)


@main.command("all")
@suite
@click.pass_context
def all_command(context: click.Context, smoke: bool, out: Path) -> None:
    """Every suite of speed, one after the other; `serving` where wrk and oha are on the path."""
    commands = [
        micro_command,
        growth_command,
        publish_command,
        pipeline_command,
        freshness_command,
        recovery_command,
        cluster_command,
    ]
    if smoke or (shutil.which("wrk") and shutil.which("oha")):
        commands.append(serving_command)
    for command in commands:
        click.echo(f"{command.name} …", err=True)
        context.invoke(command, smoke=smoke, out=out)


if __name__ == "__main__":
    main(prog_name="python -m benchmarks")
