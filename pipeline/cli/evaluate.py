"""`pipeline evaluate`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import numpy as np
import orjson
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from pipeline.cli import options
from pipeline.cli.snapshots import find_published, find_whole
from pipeline.errors import ConfigError
from pipeline.evaluate.evaluate import Evaluation, Settings, prepare, to_plain
from pipeline.evaluate.evaluate import evaluate as evaluate_target
from pipeline.evaluate.intervals import Interval
from pipeline.evaluate.learned import learned_elsewhere, published
from pipeline.evaluate.log import DecisionLog
from pipeline.evaluate.open_bandit import log_of, ranked_thompson
from pipeline.evaluate.production_prior import ALPHA, BETA
from pipeline.evaluate.read import gather_ledger
from pipeline.evaluate.target import Logged, Target, Uniform
from pipeline.policy.book import PolicyBook
from pipeline.policy.definition import PolicyDefinition
from pipeline.policy.features import FeatureSchema
from pipeline.policy.parsing.parse import load_policy, parse_policy
from pipeline.stream.policies import Policies
from pipeline.stream.security import Address

ALL, ANALYSIS = "all", "analysis"
LOGGED, UNIFORM, LATEST, BERNOULLI_TS = "logged", "uniform", "latest", "bernoulli-ts"
SAME_DECISIONS = (
    "this snapshot may have learned from the very decisions that it is evaluated on, which flatters it: evaluate its "
    "policy instead, which learns from the other folds"
)


@click.command()
@click.argument("policy_name", metavar="[POLICY]", required=False)
@options.broker_address
@click.option(
    "--generation",
    envvar="PIPELINE_EVALUATE_GENERATION",
    type=click.IntRange(1),
    help="Whose decisions, by that generation's own rules; if not given, those of all up to the latest snapshot's, by "
    "its rules. [PIPELINE_EVALUATE_GENERATION]",
)
@click.option(
    "--group",
    envvar="PIPELINE_EVALUATE_GROUP",
    type=click.Choice([ALL, ANALYSIS]),
    default=ALL,
    show_default=True,
    help="Of a ledger's decisions all, or those of the analysis group, which no snapshot has learned from. "
    "[PIPELINE_EVALUATE_GROUP]",
)
@click.option(
    "--log",
    "log_kind",
    envvar="PIPELINE_EVALUATE_LOG",
    type=click.Choice(["open-bandit"]),
    help="A log in a folder instead of a policy's ledger; needs --data. [PIPELINE_EVALUATE_LOG]",
)
@click.option(
    "--data",
    envvar="PIPELINE_EVALUATE_DATA",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="A campaign's folder of the Open Bandit dataset, with its CSV. [PIPELINE_EVALUATE_DATA]",
)
@click.option(
    "--target",
    "targets",
    multiple=True,
    metavar="logged|uniform|FILE.toml|POLICY|latest|POLICY@VERSION|bernoulli-ts",
    help="What to evaluate, as often as you like: what made the log; every arm alike; a policy file or an applied "
    "policy (learns from the log, without the fold it is asked about); a published snapshot; Open Bandit's own "
    "Thompson sampling.",
)
@click.option(
    "--confidence",
    envvar="PIPELINE_EVALUATE_CONFIDENCE",
    type=click.FloatRange(0.5, 0.9999),
    default=0.95,
    show_default=True,
    help="Of the intervals. [PIPELINE_EVALUATE_CONFIDENCE]",
)
@click.option(
    "--resamples",
    envvar="PIPELINE_EVALUATE_RESAMPLES",
    type=click.IntRange(50, 100_000),
    default=1_000,
    show_default=True,
    help="Of the bootstrap. [PIPELINE_EVALUATE_RESAMPLES]",
)
@click.option(
    "--clip",
    envvar="PIPELINE_EVALUATE_CLIP",
    type=click.FloatRange(0.0, min_open=True),
    help="Largest weight of clipped IPS and Switch-DR; the root of the decisions' number if not given. "
    "[PIPELINE_EVALUATE_CLIP]",
)
@click.option(
    "--seed",
    envvar="PIPELINE_EVALUATE_SEED",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Of the resamples. [PIPELINE_EVALUATE_SEED]",
)
@click.option(
    "--picture",
    envvar="PIPELINE_EVALUATE_PICTURE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where a PNG of the estimates goes. [PIPELINE_EVALUATE_PICTURE]",
)
@options.as_json
def evaluate(
    policy_name: str | None,
    broker: Address,
    generation: int | None,
    group: str,
    log_kind: str | None,
    data: Path | None,
    targets: tuple[str, ...],
    confidence: float,
    resamples: int,
    clip: float | None,
    seed: int,
    picture: Path | None,
    as_json: bool,
) -> None:
    """Estimate what policies would have earned, from decisions that another one made.

    The log is the ledger of POLICY, or an Open Bandit campaign. Six estimators answer, each with how sure it is;
    where the log can't answer, a warning says why.

    \b
    Example:
      pipeline evaluate homepage --target logged --target bolder.toml --target latest
      pipeline evaluate homepage --group analysis --target latest
      pipeline evaluate --log open-bandit --data data/random/women --target bernoulli-ts --json
    """
    if (log_kind is None) != (data is None):
        raise click.UsageError("--log and --data go together: --log open-bandit --data FOLDER")
    if group != ALL and data is not None:
        raise click.UsageError("--group is of a policy's ledger: a log in a folder has no analysis group")
    if (policy_name is None) == (data is None):
        raise click.UsageError("name the POLICY whose ledger is the log, or give --log and --data")
    settings = Settings(confidence, resamples, clip)
    with _progress() as told:
        if data is not None:
            log, features, left_out = _read_open_bandit(data)
            chosen = targets or (LOGGED, UNIFORM, BERNOULLI_TS)
        else:
            reading = read_ledger(broker, str(policy_name), told("reading the ledger"), generation, group)
            log, features, left_out = asyncio.run(reading)
            chosen = targets or (LOGGED, UNIFORM, LATEST)
        prepared = prepare(log, features)
        evaluations = [
            evaluate_target(
                prepared,
                target,
                settings,
                np.random.default_rng(seed),  # the same resamples for each
                (*left_out, *warnings),
                told(f"evaluating {word}"),
            )
            for word in chosen
            for target, warnings in [_target(word, prepared.log, broker, policy_name, group)]
        ]
    if picture is not None:
        from pipeline.evaluate.picture import save_picture  # noqa: PLC0415  plots would slow down every other use

        save_picture(evaluations, log.mean_reward, picture)
    if as_json:
        click.echo(orjson.dumps(to_plain(evaluations, log, settings)))
        return
    click.echo(f"{len(log):,} decisions, {log.mean_reward:.6g} earned by each on average")
    for evaluation in evaluations:
        _show(evaluation, confidence)
    if picture is not None:
        click.echo(f"The picture is {picture}")


def _target(
    word: str, log: DecisionLog, broker: Address, policy_name: str | None, group: str
) -> tuple[Target, list[str]]:
    if word == LOGGED:
        return Logged(), []
    if word == UNIFORM:
        return Uniform(), []
    if word == BERNOULLI_TS:
        return ranked_thompson(word, log, np.array(ALPHA, np.float64), np.array(BETA, np.float64)), []
    if word.endswith(".toml"):
        return learned_elsewhere(word, _definition(Path(word)), log), []
    if word == LATEST and policy_name is None:
        raise ConfigError("--target latest", ["a log in a folder has no snapshots: name one, POLICY@VERSION"])
    name, at, version = (str(policy_name), "@", LATEST) if word == LATEST else word.partition("@")
    if not at:
        return learned_elsewhere(name, _stored(asyncio.run(read_book(broker)), name), log), []
    if version != LATEST and not version.isdecimal():
        expected = "write POLICY@VERSION, as homepage@7, or POLICY@latest"
        raise ConfigError(f"--target {word}", [f"version {version!r} is no number: {expected}"])
    found = asyncio.run(find_whole(broker, name, None if version == LATEST else int(version)))
    present = asyncio.run(read_book(broker)).in_force(name)
    switches = None if present is None else present.switches  # on every node they are over any snapshot
    target = published(f"{name}@{found.fields['version']}", found.content, log, switches)
    return target, [SAME_DECISIONS] if name == policy_name and group == ALL else []


async def read_book(broker: Address) -> PolicyBook:
    """Return the policies that are applied."""
    policies = Policies(broker)
    try:
        await policies.start()
        return policies.book
    finally:
        await policies.stop()


def _stored(book: PolicyBook, name: str) -> PolicyDefinition:
    definition = book.in_force(name)
    if definition is None:
        known = ", ".join(sorted({one.name for one in book})) or "none"
        raise ConfigError(f"--target {name}", [f"no such policy is applied; applied are {known}"])
    return definition


def _definition(path: Path) -> PolicyDefinition:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--target {path}", [f"can't be read: {error.strerror}"]) from error
    return load_policy(text, str(path))


def _read_open_bandit(folder: Path) -> tuple[DecisionLog, FeatureSchema, list[str]]:
    from pipeline.demo.logged import read_log  # noqa: PLC0415  brings the whole demo

    return log_of(read_log(folder)), FeatureSchema(), []


async def read_ledger(
    broker: Address,
    policy: str,
    on_progress: Callable[[int, int], None],
    generation: int | None = None,
    group: str = ALL,
) -> tuple[DecisionLog, FeatureSchema, list[str]]:
    """Return a policy's log, its features, and in words what was left out."""
    fields = (await find_published(broker, policy, None)).fields
    definition = parse_policy(orjson.loads(fields["definition"]), f"snapshot {fields['version']} of {policy}")
    gathering = await gather_ledger(broker, definition, generation, on_progress=on_progress)
    log, left_out = gathering.log(analysis=True if group == ANALYSIS else None)
    return log, gathering.definition.features, left_out


@contextmanager
def _progress() -> Iterator[Callable[[str], Callable[[int, int], None]]]:
    """Give what makes a line of progress on stderr."""
    with Progress(console=Console(stderr=True), transient=True) as progress:

        def told(what: str) -> Callable[[int, int], None]:
            task = progress.add_task(what, total=None)
            return lambda done, total: progress.update(task, completed=done, total=total)

        yield told


def _show(evaluation: Evaluation, confidence: float) -> None:
    support = evaluation.support
    percent = f"{100 * confidence:.4g} %"
    table = Table(title=Text(evaluation.target, "bold"), title_justify="left", box=SIMPLE_HEAD)
    table.add_column("estimator")
    for heading in ("value", "± 1 s.e.", f"bootstrap {percent}", f"Bernstein {percent}"):
        table.add_column(heading, justify="right")
    table.add_column("by")
    for estimate in evaluation.estimates:
        error = estimate.standard_error
        table.add_row(
            estimate.estimator,
            f"{estimate.value:.5g}",
            "–" if error is None else f"{error:.3g}",
            _interval(estimate.bootstrap),
            _interval(estimate.bernstein),
            estimate.by,
        )
    console = Console()
    console.print(table)
    console.print(
        f"worth {support.effective:,.0f} of {support.decisions:,} decisions; mean weight {support.mean_weight:.3f}, "
        f"heaviest {support.largest_share:.1%} of all; {support.rewarded:,} rewarded"
    )
    for words in evaluation.left_out:
        console.print(Text(f"left out: {words}", "yellow"))
    for words in evaluation.warnings:
        console.print(Text(f"! {words}", "yellow"))


def _interval(interval: Interval | None) -> str:
    return "–" if interval is None else f"{interval.low:.4g} to {interval.high:.4g}"
