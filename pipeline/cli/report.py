"""`pipeline report`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import orjson
from rich.console import Console
from rich.progress import Progress

from pipeline.cli import options
from pipeline.cli.snapshots import read_published
from pipeline.errors import ConfigError
from pipeline.evaluate.read import OnProgress, gather_ledger
from pipeline.policy.definition import PolicyDefinition
from pipeline.policy.parsing.parse import parse_policy
from pipeline.report.report import report_of
from pipeline.report.tally import ANALYSIS, GROUPS, POLICY, tally
from pipeline.stream.log.topics import SNAPSHOT_HISTORY
from pipeline.stream.policies import Policies
from pipeline.stream.security import Address


@click.command()
@options.broker_address
@click.argument("policy_name", metavar="POLICY")
@click.option(
    "--generation",
    envvar="PIPELINE_REPORT_GENERATION",
    type=click.IntRange(1),
    help="Whose decisions, by that generation's own rules; if not given, those of all up to the present one, by its "
    "rules. [PIPELINE_REPORT_GENERATION]",
)
@click.option(
    "--group",
    envvar="PIPELINE_REPORT_GROUP",
    type=click.Choice([POLICY, ANALYSIS]),
    default=POLICY,
    show_default=True,
    help="Who is held against the holdout: all whom the policy decides for, or those of them that it never learns from "
    "([analysis] in its file). [PIPELINE_REPORT_GROUP]",
)
@click.option("--include-open", is_flag=True, help="Count decisions whose attribution window is still open too.")
@click.option(
    "--picture",
    envvar="PIPELINE_REPORT_PICTURE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Draw it into this PNG file. [PIPELINE_REPORT_PICTURE]",
)
@options.as_json
def report(
    broker: Address,
    policy_name: str,
    generation: int | None,
    group: str,
    include_open: bool,
    picture: Path | None,
    as_json: bool,
) -> None:
    """Say what a policy earns more than its holdout, from its ledger.

    Subjects are what is compared: the interval allows for a subject's decisions being alike.

    \b
    Example:
      pipeline report homepage --picture lift.png
      pipeline report homepage --group analysis
    """
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("reading the ledger", total=None)
        found = asyncio.run(
            report_on(
                broker,
                policy_name,
                generation,
                group,
                include_open=include_open,
                on_progress=lambda done, total: progress.update(task, completed=done, total=total),
            )
        )
    if picture is not None:
        from pipeline.report.picture import save_picture  # noqa: PLC0415  a report needs no plots

        save_picture(found, picture)
    click.echo(orjson.dumps(found) if as_json else in_words(found))


async def report_on(
    broker: Address,
    name: str,
    generation: int | None = None,
    group: str = POLICY,
    *,
    include_open: bool = False,
    on_progress: OnProgress = lambda _done, _total: None,
) -> dict[str, Any]:
    """Return what a policy earns more than its holdout, by its whole ledger.

    Raises:
        ConfigError: it is not applied. UnavailableError: no broker answers.
    """
    definition = await _definition(broker, name)
    gathered = await gather_ledger(broker, definition, generation, on_progress=on_progress)
    holdout = gathered.definition.guardrails.holdout
    shares = {} if holdout is None else await _shares(broker, name)
    counted = tally(
        gathered.entries.values(), shares, None if holdout is None else holdout.share, include_open=include_open
    )
    return report_of(gathered.definition, counted, gathered.left_out(), group)


async def _shares(broker: Address, name: str) -> dict[int, float]:
    """Return the holdout's share by snapshot version, as far back as they are kept."""
    by_hash: dict[str, float] = {}
    shares = {}
    for one in await read_published(broker, SNAPSHOT_HISTORY, name):
        known = one.fields["definition_hash"]
        if known not in by_hash:
            rails = parse_policy(orjson.loads(one.fields["definition"]), f"snapshot {one.fields['version']}").guardrails
            by_hash[known] = 0.0 if rails.holdout is None else rails.holdout.share
        shares[one.fields["version"]] = by_hash[known]
    return shares


async def _definition(broker: Address, name: str) -> PolicyDefinition:
    policies = Policies(broker)
    try:
        await policies.start()
        definition = policies.book.latest(name)
        known = ", ".join(one.name for one in policies.book) or "none"
    finally:
        await policies.stop()
    if definition is None:
        raise ConfigError(f"policy {name}", [f"is not applied; known: {known}"])
    return definition


def in_words(report: Mapping[str, Any]) -> str:
    """Write a report for people."""
    lines = [f"{report['policy']} generation {report['generation']}, by {report['unit']}"]
    for name in GROUPS:
        group = report["groups"][name]
        if group["decisions"]:
            counts = f"{group['decisions']:,} decisions of {group['subjects']:,} {report['unit']}s"
            lines.append(f"  {name}: {group['mean_reward']:.5g} a decision{_between(group['interval'])}, {counts}")
    lines += [*_lift_in_words(report), *_tables_in_words(report)]
    if report["guardrails"]:
        lines.append("  guardrails: " + ", ".join(f"{name} {count:,}" for name, count in report["guardrails"].items()))
    if report["undecodable"]:
        reasons = ", ".join(f"{name} {count:,}" for name, count in report["undecodable"].items())
        lines.append(f"  counted, and not learned from, as their context could not be encoded: {reasons}")
    if report["open"]:
        lines.append(f"  {report['open']:,} decisions are still open")
    if report["unread"]:
        lines.append(f"  {report['unread']:,} decisions can't be read any more and are left out")
    lines += [f"  doubtful: {doubt}" for doubt in report["doubts"]]
    return "\n".join(lines)


def _lift_in_words(report: Mapping[str, Any]) -> Iterator[str]:
    lift = report["lift"]
    if lift is None:
        yield f"  lift: not known, it takes two {report['unit']}s in each group"
        return
    compared = sum(stratum["is_compared"] for stratum in report["strata"])
    within = f", within {compared} shares of the holdout" if compared > 1 else ""
    of = f" of {report['lift_of']}" if report["lift_of"] != POLICY else ""
    yield f"  lift{of}: {lift['difference']['value']:+.5g} a decision{within}{_between(lift['difference'], '+.5g')}"
    if lift["relative"] is not None:
        yield f"        {lift['relative']['value']:+.2%}{_between(lift['relative'], '+.2%')}"
    yield f"        {_between(lift['always'], '+.5g', 'however often one looks').lstrip()}"
    yield f"  {report['method']}"


def _tables_in_words(report: Mapping[str, Any]) -> Iterator[str]:
    for what, row_in_words in (("arms", _arm_in_words), ("segments", _segment_in_words)):
        for name in GROUPS:
            if rows := report[what][name]:
                yield f"  {what} of {name}: {', '.join(f'{key} {row_in_words(row)}' for key, row in rows.items())}"
    if any(report["arms"].values()):
        yield "  an arm's mean is weighed by 1 / propensity, so that moving shares and chosen visitors do not count"


def _arm_in_words(row: Mapping[str, Any]) -> str:
    mean = f"{row['mean_reward']:.4g}{_between(row['interval'], '.4g')}"
    as_shown = "" if row["mean_as_shown"] == row["mean_reward"] else f", as shown {row['mean_as_shown']:.4g}"
    return f"{row['decisions']:,} ({row['share']:.1%}, {mean}{as_shown})"


def _segment_in_words(row: Mapping[str, Any]) -> str:
    return f"{row['decisions']:,} ({row['share']:.1%}, {row['mean_reward']:.4g})"


def _between(interval: Mapping[str, float] | None, form: str = ".5g", what: str = "95 %") -> str:
    return "" if interval is None else f" ({what}: {interval['low']:{form}} to {interval['high']:{form}})"
