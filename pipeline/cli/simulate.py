"""`pipeline simulate`."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import orjson
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from pipeline.cli import options
from pipeline.errors import ConfigError
from pipeline.policy.definition import PolicyDefinition
from pipeline.policy.parsing.parse import load_policy
from pipeline.simulate.environment import Environment, Setting
from pipeline.simulate.environments import ENVIRONMENTS
from pipeline.simulate.learner import Learner
from pipeline.simulate.named import environment_for
from pipeline.simulate.run import run
from pipeline.simulate.spec import definition_of, suitable
from pipeline.simulate.summary import Summary, summarise


@click.command()
@click.option(
    "--environment",
    "name",
    envvar="PIPELINE_SIMULATE_ENVIRONMENT",
    default="bernoulli",
    show_default=True,
    metavar="NAME|MODULE:CLASS",
    help=f"Where: {', '.join(ENVIRONMENTS)}, or a class of your own. [PIPELINE_SIMULATE_ENVIRONMENT]",
)
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="An argument of the environment's class.")
@click.option(
    "--policy",
    "policies",
    multiple=True,
    metavar="ALGORITHM[:KEY=NUMBER,…]|FILE.toml",
    help="Who, as often as you like; every algorithm that suits the environment if not given.",
)
@click.option(
    "--decisions",
    envvar="PIPELINE_SIMULATE_DECISIONS",
    type=click.IntRange(1, 10_000_000),
    help="How many make a run; the environment says if not given. [PIPELINE_SIMULATE_DECISIONS]",
)
@click.option(
    "--repetitions",
    envvar="PIPELINE_SIMULATE_REPETITIONS",
    type=click.IntRange(1, 10_000),
    default=10,
    show_default=True,
    help="Runs of each policy, all on the same seeds. [PIPELINE_SIMULATE_REPETITIONS]",
)
@click.option(
    "--seed",
    envvar="PIPELINE_SIMULATE_SEED",
    type=click.IntRange(0),
    default=1,
    show_default=True,
    help="Of the first run; the next has the next. [PIPELINE_SIMULATE_SEED]",
)
@click.option(
    "--refresh",
    envvar="PIPELINE_SIMULATE_REFRESH",
    type=click.IntRange(1),
    default=20,
    show_default=True,
    help="Decisions on one posterior, as on one snapshot. [PIPELINE_SIMULATE_REFRESH]",
)
@click.option(
    "--floor",
    envvar="PIPELINE_SIMULATE_FLOOR",
    type=click.FloatRange(0.0, 1.0),
    help="Floor of each arm, of policies that aren't files; else as a file without one. [PIPELINE_SIMULATE_FLOOR]",
)
@click.option(
    "--settle",
    envvar="PIPELINE_SIMULATE_SETTLE",
    default="optimistic",
    show_default=True,
    help="When decisions of policies that aren't files count, where rewards are delayed. [PIPELINE_SIMULATE_SETTLE]",
)
@click.option(
    "--picture",
    envvar="PIPELINE_SIMULATE_PICTURE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where a PNG of the regret goes. [PIPELINE_SIMULATE_PICTURE]",
)
@options.as_json
def simulate(
    name: str,
    settings: tuple[str, ...],
    policies: tuple[str, ...],
    decisions: int | None,
    repetitions: int,
    seed: int,
    refresh: int,
    floor: float | None,
    settle: str,
    picture: Path | None,
    as_json: bool,
) -> None:
    """Play policies in an environment, without a broker: regret and reward, with standard errors.

    \b
    Example:
      pipeline simulate --environment bernoulli --set rates=0.05,0.04,0.03 --picture out/regret.png
      pipeline simulate --environment linear --policy linear_thompson --policy lin_ucb:alpha=0.5 --json
      pipeline simulate --environment mypackage.shops:Shop --policy ops/policies/homepage.toml
    """
    if ":" in name:
        sys.path.insert(0, str(Path.cwd()))  # as `python -m` has it: a class of one's own lies in the folder one is in
    environment = environment_for(name, _pairs(settings))
    setting = environment.setting
    specs = policies or tuple(suitable(setting))
    if len(set(specs)) < len(specs):
        raise click.UsageError("a --policy is given twice: give each once")
    definitions = {spec: _definition(spec, setting, floor, settle) for spec in specs}
    count = decisions or setting.decisions
    with Progress(console=Console(stderr=True), transient=True) as progress:
        summaries = []
        for spec, definition in definitions.items():
            task = progress.add_task(spec, total=count * repetitions)
            advance = _advance(progress, task, count)
            runs = []
            left_out: tuple[str, ...] = ()
            fallbacks: Counter[str] = Counter()
            for repetition in range(repetitions):
                environment.reset(seed + repetition)
                player = _player(spec, definition, setting, seed + repetition)
                runs.append(run(environment, player, count, refresh=refresh, on_progress=advance(repetition)))
                player.check_grid()
                left_out = player.left_out
                fallbacks += player.fallbacks
            summaries.append(summarise(name, spec, runs, left_out=left_out, fallbacks=fallbacks))
    if picture is not None:
        from pipeline.simulate.picture import save_picture  # noqa: PLC0415  plots would slow down every other use

        save_picture(summaries, picture, f"{name}: regret over {count:,} decisions, {repetitions} runs")
    if as_json:
        click.echo(orjson.dumps([summary.to_plain() for summary in summaries]))
        return
    _show(environment, summaries)
    if picture is not None:
        click.echo(f"The regret curves are in {picture}")


def _player(spec: str, definition: PolicyDefinition, setting: Setting, seed: int) -> Learner:
    # Its chance is its own: another player draws nothing from it, and the environment has another stream.
    return Learner(spec, definition, setting, np.random.default_rng((seed, 1)))


def _advance(progress: Progress, task: int, count: int) -> Callable[[int], Callable[[int, int], None]]:
    def of(repetition: int) -> Callable[[int, int], None]:
        return lambda done, _total: progress.update(task, completed=repetition * count + done)  # type: ignore[arg-type]

    return of


def _definition(spec: str, setting: Setting, floor: float | None, settle: str) -> PolicyDefinition:
    if not spec.endswith(".toml"):
        return definition_of(spec, setting, floor=floor, settle=settle)
    try:
        text = Path(spec).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--policy {spec}", [f"can't be read: {error.strerror}"]) from error
    return load_policy(text, spec)


def _pairs(settings: tuple[str, ...]) -> dict[str, str]:
    pairs = {}
    for text in settings:
        key, equals, value = text.partition("=")
        if not equals:
            raise click.UsageError(f"--set {text}: write KEY=VALUE")
        pairs[key] = value
    return pairs


def _show(environment: Environment, summaries: list[Summary]) -> None:
    first = summaries[0]
    arms = len(environment.setting.arms)
    table = Table(
        title=f"{first.environment}: {arms} arms, {first.decisions:,} decisions, {len(first.regrets)} runs",
        title_justify="left",
        box=SIMPLE_HEAD,
    )
    table.add_column("policy", overflow="fold")
    for heading in ("regret", "± s.e.", "reward", "± s.e.", "best at end", "known"):
        table.add_column(heading, justify="right", no_wrap=True)
    for kind in summaries[0].kinds:
        table.add_column(kind, justify="right", no_wrap=True)
    # Best first: the least regret, or where nobody knows it, the most reward.
    for summary in sorted(summaries, key=lambda one: one.regret if one.has_regret else -float(one.rewards.mean())):
        plain = summary.to_plain()
        known = summary.has_regret
        table.add_row(
            summary.player,
            f"{summary.regret:,.4g}" if known else "–",
            f"{summary.regret_error:,.3g}" if known else "–",
            f"{plain['reward']:.5g}",
            f"{plain['reward_error']:.2g}",
            f"{plain['best_share']:.1%}" if known else "–",
            f"{summary.known:,}",
            *(f"{means.mean():.3g}" for means in summary.kinds.values()),
        )
    Console().print(table)
    for summary in summaries:
        for words in summary.left_out:
            click.echo(f"{summary.player}: left out: {words}")
        for why, count in sorted(summary.fallbacks.items()):
            click.echo(f"! {summary.player}: its model was not asked in {count:,} decisions: {why}")
