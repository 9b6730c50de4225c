"""`pipeline analyze`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np
import orjson
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from pipeline.analyze.analyze import Settings
from pipeline.analyze.analyze import analyze as analyze_log
from pipeline.analyze.answer import SURELY, sentences, time_text
from pipeline.analyze.convergence import Wait
from pipeline.analyze.findings import Analysis, Estimated
from pipeline.analyze.log_file import read_log_file
from pipeline.cli import options
from pipeline.cli.policy_log import read_policy_log
from pipeline.errors import ConfigError
from pipeline.evaluate.log import DecisionLog
from pipeline.policy.durations import parse_duration_ms
from pipeline.stream.security import Address

ARMS_SHOWN = 4
"""Of a level, in the table."""
FILES = (".csv", ".tsv", ".txt", ".jsonl", ".ndjson", ".json")


class Asked(NamedTuple):
    """A log, and what is known of it."""

    log: DecisionLog
    doubts: list[str]
    choice: frozenset[str] | None = None
    """Arms that anybody may be shown; None: all."""
    is_draw_assumed: bool = False
    """Whether it has no propensities."""


@click.command()
@click.argument("source", metavar="LOG|POLICY")
@options.broker_address
@click.option(
    "--generation",
    envvar="PIPELINE_ANALYZE_GENERATION",
    type=click.IntRange(1),
    help="Of a POLICY: whose decisions, by that generation's own rules; if not given, those of all up to the latest "
    "snapshot's, by its rules. [PIPELINE_ANALYZE_GENERATION]",
)
@click.option(
    "--column",
    "columns",
    multiple=True,
    metavar="ROLE=NAME",
    help="Of a LOG: what a column is called that is not called arm, reward, propensity, subject, segment or time.",
)
@click.option(
    "--field",
    "fields",
    multiple=True,
    metavar="FIELD",
    help="Only this field of the context, as often as you like; all, and the segment, if not given.",
)
@click.option(
    "--group-by",
    "group_by",
    multiple=True,
    metavar="FIELD",
    help="Say what is shown to whom and what comes of it by the groups of this field, as often as you like.",
)
@click.option(
    "--least-group",
    envvar="PIPELINE_ANALYZE_LEAST_GROUP",
    type=click.IntRange(2),
    default=30,
    show_default=True,
    help="Subjects of a group that is shown. [PIPELINE_ANALYZE_LEAST_GROUP]",
)
@click.option(
    "--worth",
    envvar="PIPELINE_ANALYZE_WORTH",
    type=click.FloatRange(0.0, 1.0, min_open=True),
    default=0.01,
    show_default=True,
    help="The least gain that is worth personalising for, as a part of what one arm for all earns. "
    "[PIPELINE_ANALYZE_WORTH]",
)
@click.option(
    "--confidence",
    envvar="PIPELINE_ANALYZE_CONFIDENCE",
    type=click.FloatRange(0.5, 0.9999),
    default=0.95,
    show_default=True,
    help="Of the intervals. [PIPELINE_ANALYZE_CONFIDENCE]",
)
@click.option(
    "--resamples",
    envvar="PIPELINE_ANALYZE_RESAMPLES",
    type=click.IntRange(50, 100_000),
    default=1_000,
    show_default=True,
    help="Of the bootstrap. [PIPELINE_ANALYZE_RESAMPLES]",
)
@click.option(
    "--traffic-of",
    envvar="PIPELINE_ANALYZE_TRAFFIC_OF",
    default="1d",
    show_default=True,
    help="How far back the present traffic is measured. [PIPELINE_ANALYZE_TRAFFIC_OF]",
)
@click.option(
    "--seed",
    envvar="PIPELINE_ANALYZE_SEED",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Of resamples, signs and shuffles. [PIPELINE_ANALYZE_SEED]",
)
@click.option(
    "--picture",
    envvar="PIPELINE_ANALYZE_PICTURE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where a picture goes: a .png, .svg or .pdf. [PIPELINE_ANALYZE_PICTURE]",
)
@options.as_json
def analyze(
    source: str,
    broker: Address,
    generation: int | None,
    columns: tuple[str, ...],
    fields: tuple[str, ...],
    group_by: tuple[str, ...],
    least_group: int,
    worth: float,
    confidence: float,
    resamples: int,
    traffic_of: str,
    seed: int,
    picture: Path | None,
    as_json: bool,
) -> None:
    """Say whether to personalise: what depends on whom an arm is shown to, and what that is worth.

    LOG is a file of decisions, a table or JSON lines: arm, reward and, where known, propensity, subject, segment and
    time; all else is the context. POLICY is the name of a policy that runs; its ledger is the log.

    \b
    Example:
      pipeline analyze history.csv --group-by country --picture analysis.svg
      pipeline analyze homepage --group-by device --json
    """
    traffic_ms = parse_duration_ms(traffic_of)
    if traffic_ms is None:
        raise click.UsageError(f'--traffic-of is {traffic_of!r}, expected a whole number and a unit, like "1d"')
    settings = Settings(confidence, resamples, worth, group_by, least_group, traffic_ms)
    with _progress() as told:
        asked = _asked(source, broker, generation, columns, told)
    found = analyze_log(
        asked.log,
        settings,
        np.random.default_rng(seed),
        choice=asked.choice,
        only=fields or None,
        said=asked.doubts,
        is_draw_assumed=asked.is_draw_assumed,
    )
    if picture is not None:
        from pipeline.analyze.picture import save_picture  # noqa: PLC0415  plots would slow down every other use

        save_picture(found, picture)
    if as_json:
        click.echo(orjson.dumps(found.to_plain() | {"sentences": sentences(found)}))
        return
    show(found)
    if picture is not None:
        click.echo(f"The picture is {picture}")


def _asked(
    source: str,
    broker: Address,
    generation: int | None,
    columns: tuple[str, ...],
    on_progress: Callable[[int, int], None],
) -> Asked:
    path = Path(source)
    if path.is_file() or path.suffix in FILES:
        if generation is not None:
            raise click.UsageError("--generation goes with a POLICY, a LOG is one history")
        try:
            raw = path.read_bytes()
        except OSError as error:
            raise ConfigError(source, [f"can't be read: {error.strerror}"]) from error
        found = read_log_file(raw, source, _by_role(columns))
        return Asked(found.log, found.doubts, is_draw_assumed=not found.has_propensities)
    if columns:
        raise click.UsageError(f"--column goes with a LOG, and there is no file {source}")
    read = asyncio.run(read_policy_log(broker, source, generation, on_progress))
    return Asked(read.log, read.left_out, read.choice)


def _by_role(columns: tuple[str, ...]) -> dict[str, str]:
    pairs = [column.partition("=") for column in columns]
    if wrong := [column for column, (_, is_there, _) in zip(columns, pairs, strict=True) if not is_there]:
        raise click.UsageError(f"--column is {wrong[0]!r}, expected ROLE=NAME, like reward=clicked")
    return {role: name for role, _, name in pairs}


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """Give what moves a line of progress on stderr."""
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("reading", total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def show(found: Analysis) -> None:
    """Write an analysis for people."""
    console = Console()
    for words in sentences(found):
        console.print(Text(words))
    console.print(
        f"\n{found.decisions:,} decisions of {found.subjects:,} {'actions' if found.by == 'action' else 'subjects'} "
        f"among {len(found.arms)} arms; all intervals by {found.by}"
    )
    for table in (
        _values(found),
        _effects(found),
        _levels(found),
        _one_arm(found),
        _groups(found),
        _convergence(found),
    ):
        if table is not None:
            console.print(table)
    for withheld in () if found.groups is None else found.groups.withheld:
        console.print(Text(f"withheld: {withheld}", "yellow"))
    for words in found.left_out:
        console.print(Text(f"left out: {words}", "yellow"))
    for words in found.doubts:
        console.print(Text(f"! {words}", "yellow"))


def _table(title: str, *headings: str) -> Table:
    table = Table(title=Text(title, "bold"), title_justify="left", box=SIMPLE_HEAD)
    for place, heading in enumerate(headings):
        table.add_column(heading, justify="right" if place else "left")
    return table


def _values(found: Analysis) -> Table:
    table = _table(
        f"What rules earn a decision {_sure(found)}", "rule", "value", "regret of the log", "in all its decisions"
    )
    for name, value in found.values.items():
        regret = found.regret.get(name)
        row: list[str | Text] = [Text(name), _range(value)]
        if regret is not None:
            whole = Estimated(*(found.decisions * one for one in regret))
            row += [_range(regret, "+.3g"), _range(whole, "+,.0f")]
        table.add_row(*row)
    return table


def _effects(found: Analysis) -> Table | None:
    if not found.effects:
        return None
    table = _table(
        f"Do the arms' effects differ? {_sure(found)}", "by", "p", "p (Holm)", "worth of knowing it, a decision"
    )
    for effect in found.effects:
        table.add_row(
            Text(effect.field), f"{effect.p_value:.2g}", f"{effect.adjusted:.2g}", _range(effect.worth, "+.2g")
        )
    return table


def _levels(found: Analysis) -> Table | None:
    """Tell of the fields by which effects differ."""
    table = _table("What arms earn with whom (± 1 s.e.)", "visitors", "decisions", "shown by context", "means")
    for effect in found.effects:
        if effect.adjusted > SURELY:
            continue
        for level in effect.levels:
            arm, share = next(iter(level.shown.items()))
            best = sorted(level.means.items(), key=lambda one: -one[1])[:ARMS_SHOWN]
            means = ", ".join(f"{name} {mean:.3g} ± {level.standard_errors[name]:.1g}" for name, mean in best)
            visitors = Text(f"{effect.field} {level.level}")
            table.add_row(visitors, f"{level.decisions:,}", Text(f"{arm} {share:.0%}"), Text(means))
    return table if table.row_count else None


def _one_arm(found: Analysis) -> Table:
    table = _table(f"One arm for all {_sure(found)}", "arm", "value", "P(best)", "expected loss")
    rows = zip(found.arm_values.items(), found.advice.best.tolist(), found.advice.losses.tolist(), strict=True)
    for (arm, value), best, loss in sorted(rows, key=lambda row: -row[0][1].value):
        table.add_row(Text(arm), _range(value), f"{best:.3f}", f"{loss:.2g}")
    return table


def _groups(found: Analysis) -> Table | None:
    if found.groups is None or not found.groups.shown:
        return None
    headings = ("group", "subjects", "decisions", "reward a decision", "p", "shares of the arms", "p (Holm)")
    table = _table("Who is shown what, and what comes of it (95 %; p: that it is as for all others)", *headings)
    for one in found.groups.shown:
        shares = ", ".join(f"{arm} {_percent(share)}" for arm, share in one.shares.items())
        table.add_row(
            Text(f"{one.field} {one.group}"),
            f"{one.subjects:,}",
            f"{one.decisions:,}",
            f"{one.mean_reward['value']:.4g} ({one.mean_reward['low']:.4g} to {one.mean_reward['high']:.4g})",
            f"{one.differs['rewards']:.2g}",
            Text(shares),
            f"{one.differs['shares']:.2g}",
        )
    return table


def _sure(found: Analysis) -> str:
    return f"({100.0 * found.confidence:.4g} %)"


def _range(one: Estimated, form: str = ".4g") -> str:
    return f"{one.value:{form}} ({one.low:{form}} to {one.high:{form}})"


def _percent(share: Mapping[str, float | None]) -> str:
    return f"{share['value']:.0%} ({share['low']:.0%} to {share['high']:.0%})"


def _convergence(found: Analysis) -> Table:
    traffic = found.traffic_per_day
    title = "How long until it can be said" + ("" if traffic is None else f", at {traffic:,.0f} decisions a day")
    table = _table(title, "what", "decisions more", "time")
    table.add_row("whether context is worth it", *_waiting(found.context_wait))
    table.add_row("which one arm is as good as any", *_waiting(found.arm_wait))
    return table


def _waiting(wait: Wait) -> tuple[str, str]:
    if wait.decisions == 0:
        return "0", "now"
    if wait.decisions is None:
        return "can't be told", "can't be told"
    return f"{wait.decisions:,}", "the log has no times" if wait.time_ms is None else time_text(wait.time_ms)
